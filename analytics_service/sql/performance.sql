-- What the readings of the asked vehicles add up to, paired by EXCLUSIVE_MINUTES, from rollups and from readings, and
-- whether these were the right places to look.
--
-- A row per vehicle and bucket, the buckets beginning at %(starts)s and counted from 1, with sums over what is kept:
-- energies in kWh, SoC in percent, temperature in degrees Celsius, minutes as (meter, minute) pairs. At least one row, its
-- vehicle_id null if there is nothing; each with log_from, layout, and which hours of the window are stale for one of
-- the vehicles: the answer is void if a rollup was taken of one of them, or if the partitions are not those of the layout.
--
-- Rollups are index-only scans of the primary key of vehicle_rollups; stale_hours is looked up by stale_hours_device. See
-- pairing.sql for the readings. Who is asked about and what is to be looked at are paired first, or the planner might
-- read all that there is of a vehicle and compare times afterwards.
WITH asked AS MATERIALIZED (
    SELECT device_key AS vehicle_key, device_id
    FROM devices
    WHERE kind = 2 AND device_id = ANY (%(vehicle_ids)s::text[])
), wanted AS MATERIALIZED (
    SELECT vehicle_key, hour, since, until
    FROM asked
    CROSS JOIN unnest(%(raw_hours)s::timestamptz[], %(raw_since)s::timestamptz[], %(raw_until)s::timestamptz[])
        AS raw (hour, since, until)
), pieces AS MATERIALIZED (
    SELECT vehicle_key, hours, since, until
    FROM asked
    CROSS JOIN unnest(%(piece_hours)s::int2[], %(piece_since)s::timestamptz[], %(piece_until)s::timestamptz[])
        AS p (hours, since, until)
), {met}, {pairing}, parts AS (
    SELECT r.vehicle_key, r.meter_key, width_bucket(r.start, %(starts)s::timestamptz[]) AS bucket,
        r.readings, r.readings_kept, r.minutes_kept, r.minutes_shared, r.minutes_without_meter_data,
        r.kwh_consumed_ac, r.kwh_delivered_dc, r.sum_soc, r.sum_battery_temp
    FROM pieces AS p
    JOIN vehicle_rollups AS r ON r.vehicle_key = ANY (ARRAY[p.vehicle_key])
        AND r.hours = ANY (ARRAY[p.hours]) AND r.start >= p.since AND r.start < p.until
    UNION ALL
    SELECT vehicle_key, meter_key, width_bucket(minute, %(starts)s::timestamptz[]),
        sum(readings)::int4, coalesce(sum(readings) FILTER (WHERE is_kept), 0)::int4,
        (count(*) FILTER (WHERE is_kept))::int4, (count(*) FILTER (WHERE is_shared))::int4,
        (count(*) FILTER (WHERE is_without_meter_data))::int4,
        coalesce(sum(kwh_ac) FILTER (WHERE is_kept), 0), coalesce(sum(kwh_dc) FILTER (WHERE is_kept), 0),
        coalesce(sum(soc) FILTER (WHERE is_kept), 0), coalesce(sum(battery_temp) FILTER (WHERE is_kept), 0)
    FROM paired
    GROUP BY 1, 2, 3
    HAVING bool_or(vehicle_key IN (SELECT vehicle_key FROM asked))
), sums AS (
    SELECT vehicle_key, bucket,
        sum(readings)::int8 AS readings,
        coalesce(sum(readings) FILTER (WHERE meter_key = 0), 0)::int8 AS readings_without_meter,
        sum(readings_kept)::int8 AS readings_kept, sum(minutes_kept)::int8 AS minutes_kept,
        sum(minutes_shared)::int8 AS minutes_shared,
        sum(minutes_without_meter_data)::int8 AS minutes_without_meter_data,
        sum(kwh_consumed_ac) AS kwh_consumed_ac, sum(kwh_delivered_dc) AS kwh_delivered_dc,
        sum(sum_soc) AS sum_soc, sum(sum_battery_temp) AS sum_battery_temp,
        array_agg(DISTINCT meter_key) FILTER (WHERE minutes_kept > 0) AS meter_keys
    FROM parts
    GROUP BY vehicle_key, bucket
)
SELECT state.log_from, state.layout,
    (
        SELECT array_agg(DISTINCT hour)
        FROM (
            SELECT hour FROM stale_hours WHERE device_key = 0
            UNION ALL
            SELECT hour FROM asked JOIN stale_hours ON device_key = ANY (ARRAY[vehicle_key])
        ) AS stale
        WHERE hour >= %(start)s::timestamptz AND hour < %(end)s::timestamptz
    ) AS stale_hours,
    asked.device_id AS vehicle_id, sums.bucket,
    sums.readings, sums.readings_without_meter, sums.readings_kept,
    sums.minutes_kept, sums.minutes_shared, sums.minutes_without_meter_data,
    sums.kwh_consumed_ac, sums.kwh_delivered_dc, sums.sum_soc, sums.sum_battery_temp,
    CASE WHEN %(with_meters)s::bool THEN (
        SELECT array_agg(device_id ORDER BY device_id) FROM devices WHERE device_key = ANY (sums.meter_keys)
    ) END AS meter_ids
FROM rollup_state AS state
LEFT JOIN (sums JOIN asked USING (vehicle_key)) ON true
