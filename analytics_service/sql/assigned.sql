-- What the asked vehicles' readings and their meters' readings add up to, paired by ASSIGNED_METER.
--
-- Rows as in exclusive.sql, with all of a vehicle's readings in one row, without a meter, and each assigned meter's in a
-- row of its own: AC energy in kWh over all readings of a meter while assigned; DC energy in kWh, state of charge in
-- percent and temperature in degrees Celsius over all readings of the vehicle. The kept minutes are those in which the
-- assigned meter has a reading.
--
-- Takes the spans of spans.sql, asked without %(exclusive)s: those with a meter are the assignments. Each is an
-- index-only scan of the primary key of vehicle_readings or meter_readings, on the partitions of the window, which the
-- constant bounds prune; see exclusive.sql for the ANY.
WITH spans AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(vehicle_keys)s::int4[], %(assigned_meter_keys)s::int4[],
        %(vehicle_since)s::timestamptz[], %(vehicle_until)s::timestamptz[]
    ) AS s (vehicle_key, assigned_meter_key, since, until)
), minutes AS (
    SELECT s.vehicle_key, r.meter_key, sum(r.kwh_consumed_ac) AS kwh_ac
    FROM spans AS s
    JOIN meter_readings AS r
        ON r.meter_key = ANY (ARRAY[s.assigned_meter_key]) AND r.recorded_at >= s.since AND r.recorded_at < s.until
    WHERE r.recorded_at >= %(start)s::timestamptz AND r.recorded_at < %(end)s::timestamptz
    GROUP BY s.vehicle_key, r.meter_key, date_bin('1 minute', r.recorded_at, timestamptz '1970-01-01 00:00+00')
)
SELECT r.vehicle_key, NULL::int4 AS meter_key,
    count(*) AS readings,
    count(*) FILTER (WHERE coalesce(r.meter_key, s.assigned_meter_key) IS NULL) AS readings_without_meter,
    count(*) AS readings_kept,
    0::int8 AS minutes_kept, 0::int8 AS minutes_shared, 0::int8 AS minutes_without_meter_data,
    0::float8 AS kwh_consumed_ac, sum(r.kwh_delivered_dc) AS kwh_delivered_dc,
    sum(r.soc) AS sum_soc, sum(r.battery_temp) AS sum_battery_temp
FROM spans AS s
JOIN vehicle_readings AS r
    ON r.vehicle_key = ANY (ARRAY[s.vehicle_key]) AND r.recorded_at >= s.since AND r.recorded_at < s.until
WHERE r.recorded_at >= %(start)s::timestamptz AND r.recorded_at < %(end)s::timestamptz
GROUP BY r.vehicle_key
UNION ALL
SELECT vehicle_key, meter_key, 0, 0, 0, count(*), 0, 0, sum(kwh_ac), 0, 0, 0
FROM minutes
GROUP BY vehicle_key, meter_key
