-- What the readings of all vehicles add up to, as the part of other statements that goes before their SELECT: parts, of
-- which a vehicle and meter may have many, from rollups and from readings. Energies in kWh, SoC in percent, temperature in
-- degrees Celsius.
--
-- Of single device-hours that are stale the readings are taken, of all others the rollups, by vehicle_rollups_start, in
-- index-only scans. stale_hours is looked up by stale_hours_hour. See pairing.sql for the readings.
stale AS MATERIALIZED (
    SELECT DISTINCT device_key, hour
    FROM stale_hours
    WHERE device_key > 0 AND hour >= %(start)s::timestamptz AND hour < %(end)s::timestamptz
        AND hour <> ALL (%(raw_hours)s::timestamptz[])
), wanted AS MATERIALIZED (
    SELECT device_key AS vehicle_key, hour, since, until
    FROM unnest(%(raw_hours)s::timestamptz[], %(raw_since)s::timestamptz[], %(raw_until)s::timestamptz[])
        AS raw (hour, since, until)
    JOIN devices ON kind = 2
    UNION ALL
    SELECT device_key, hour, hour, hour + interval '1 hour'
    FROM stale
    JOIN devices USING (device_key)
    WHERE kind = 2
), {met}, {pairing}, parts AS (
    SELECT r.vehicle_key, r.meter_key, r.start, r.readings, r.readings_kept, r.minutes_kept, r.minutes_shared,
        r.minutes_without_meter_data, r.kwh_consumed_ac, r.kwh_delivered_dc, r.sum_soc, r.sum_battery_temp,
        r.all_kwh_delivered_dc
    FROM unnest(%(piece_hours)s::int2[], %(piece_since)s::timestamptz[], %(piece_until)s::timestamptz[])
        AS p (hours, since, until)
    JOIN vehicle_rollups AS r ON r.hours = ANY (ARRAY[p.hours]) AND r.start >= p.since AND r.start < p.until
    WHERE (r.vehicle_key, r.start) NOT IN (SELECT device_key, hour FROM stale)
    UNION ALL
    SELECT vehicle_key, meter_key, date_bin('1 hour', minute, timestamptz '1970-01-01 00:00+00') AS start,
        sum(readings)::int4, coalesce(sum(readings) FILTER (WHERE is_kept), 0)::int4,
        (count(*) FILTER (WHERE is_kept))::int4, (count(*) FILTER (WHERE is_shared))::int4,
        (count(*) FILTER (WHERE is_without_meter_data))::int4,
        coalesce(sum(kwh_ac) FILTER (WHERE is_kept), 0), coalesce(sum(kwh_dc) FILTER (WHERE is_kept), 0),
        coalesce(sum(soc) FILTER (WHERE is_kept), 0), coalesce(sum(battery_temp) FILTER (WHERE is_kept), 0),
        sum(kwh_dc)
    FROM paired
    GROUP BY 1, 2, 3
    HAVING bool_or((vehicle_key, date_bin('1 hour', minute, timestamptz '1970-01-01 00:00+00'))
        IN (SELECT vehicle_key, hour FROM wanted))
)
