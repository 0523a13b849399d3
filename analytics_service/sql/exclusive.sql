-- What the asked vehicles' readings and their meters' readings add up to, paired by EXCLUSIVE_MINUTES.
--
-- One row per vehicle and meter (meter null: readings that belong to none): counts of readings and of (meter, minute)
-- pairs, and sums over the kept pairs: AC and DC energy in kWh, state of charge in percent, temperature in degrees
-- Celsius. A pair is kept when only one vehicle has readings in it and the meter has some.
--
-- Takes the spans of spans.sql. Each span is an index-only scan of the primary key of vehicle_readings or
-- meter_readings, on the partitions of the window, which the constant bounds prune. ANY keeps the planner from hashing the
-- spans and reading whole partitions beside them.
--
-- From there on nothing is a nested loop, whatever the planner expects of a partition without statistics: readings are
-- grouped, then joined by a full join, which is hashed or merged. The aggregate in the last HAVING keeps it a full join;
-- a condition on the bare column would not.
WITH pairs AS MATERIALIZED (
    SELECT r.vehicle_key, coalesce(r.meter_key, s.assigned_meter_key) AS meter_key,
        date_bin('1 minute', r.recorded_at, timestamptz '1970-01-01 00:00+00') AS minute,
        count(*)::int4 AS readings, sum(r.kwh_delivered_dc) AS kwh_dc,
        sum(r.soc) AS soc, sum(r.battery_temp) AS battery_temp
    FROM unnest(
        %(vehicle_keys)s::int4[], %(assigned_meter_keys)s::int4[],
        %(vehicle_since)s::timestamptz[], %(vehicle_until)s::timestamptz[]
    ) AS s (vehicle_key, assigned_meter_key, since, until)
    JOIN vehicle_readings AS r
        ON r.vehicle_key = ANY (ARRAY[s.vehicle_key]) AND r.recorded_at >= s.since AND r.recorded_at < s.until
    WHERE r.recorded_at >= %(start)s::timestamptz AND r.recorded_at < %(end)s::timestamptz
    GROUP BY 1, 2, 3
), minutes AS (
    SELECT meter_key, minute, count(vehicle_key) AS vehicles, count(kwh_ac) AS meter_readings, sum(kwh_ac) AS kwh_ac
    FROM (
        SELECT meter_key, minute, vehicle_key, NULL::float8 AS kwh_ac
        FROM pairs
        WHERE meter_key IS NOT NULL
        UNION ALL
        SELECT r.meter_key, date_bin('1 minute', r.recorded_at, timestamptz '1970-01-01 00:00+00'),
            NULL, r.kwh_consumed_ac
        FROM unnest(%(meter_keys)s::int4[], %(meter_since)s::timestamptz[], %(meter_until)s::timestamptz[])
            AS s (meter_key, since, until)
        JOIN meter_readings AS r
            ON r.meter_key = ANY (ARRAY[s.meter_key]) AND r.recorded_at >= s.since AND r.recorded_at < s.until
        WHERE r.recorded_at >= %(start)s::timestamptz AND r.recorded_at < %(end)s::timestamptz
    ) AS both_sides
    GROUP BY meter_key, minute
)
SELECT vehicle_key, meter_key,
    sum(readings) AS readings,
    coalesce(sum(readings) FILTER (WHERE meter_key IS NULL), 0) AS readings_without_meter,
    coalesce(sum(readings) FILTER (WHERE vehicles = 1 AND meter_readings > 0), 0) AS readings_kept,
    count(*) FILTER (WHERE vehicles = 1 AND meter_readings > 0) AS minutes_kept,
    count(*) FILTER (WHERE vehicles > 1) AS minutes_shared,
    count(*) FILTER (WHERE vehicles = 1 AND meter_readings = 0) AS minutes_without_meter_data,
    coalesce(sum(kwh_ac) FILTER (WHERE vehicles = 1 AND meter_readings > 0), 0) AS kwh_consumed_ac,
    coalesce(sum(kwh_dc) FILTER (WHERE vehicles = 1 AND meter_readings > 0), 0) AS kwh_delivered_dc,
    coalesce(sum(soc) FILTER (WHERE vehicles = 1 AND meter_readings > 0), 0) AS sum_soc,
    coalesce(sum(battery_temp) FILTER (WHERE vehicles = 1 AND meter_readings > 0), 0) AS sum_battery_temp
FROM pairs
FULL JOIN minutes USING (meter_key, minute)
GROUP BY vehicle_key, meter_key
HAVING bool_or(vehicle_key = ANY (%(asked_keys)s::int4[]))
