-- What the readings of the asked vehicles, and those of their assigned meters while assigned, add up to, from rollups and
-- from readings.
--
-- A row per vehicle and bucket, as performance.sql has it. The places to look at are those of state_assigned.sql: of the
-- vehicles pieces of rollups and stretches of hours, the same for all of them, and of each vehicle's meters their own.
--
-- Rollups are index-only scans of the primary keys of vehicle_rollups and meter_rollups, readings of those of the
-- partitions, which are named as in pairing.sql. Vehicles and places are paired first, as in performance.sql.
WITH asked AS MATERIALIZED (
    SELECT device_key AS vehicle_key, device_id
    FROM devices
    WHERE device_key = ANY (%(asked_keys)s::int4[])
), wanted AS MATERIALIZED (
    SELECT vehicle_key, since, until
    FROM asked
    CROSS JOIN unnest(%(raw_since)s::timestamptz[], %(raw_until)s::timestamptz[]) AS raw (since, until)
), pieces AS MATERIALIZED (
    SELECT vehicle_key, hours, since, until
    FROM asked
    CROSS JOIN unnest(%(piece_hours)s::int2[], %(piece_since)s::timestamptz[], %(piece_until)s::timestamptz[])
        AS p (hours, since, until)
), parts AS (
    SELECT r.vehicle_key, NULL::int4 AS meter_key, width_bucket(r.start, %(starts)s::timestamptz[]) AS bucket,
        r.readings, CASE WHEN r.meter_key = 0 THEN r.readings ELSE 0 END AS readings_without_meter, 0 AS minutes_kept,
        0::float8 AS kwh_consumed_ac, r.all_kwh_delivered_dc AS kwh_delivered_dc, r.all_sum_soc AS sum_soc,
        r.all_sum_battery_temp AS sum_battery_temp
    FROM pieces AS p
    JOIN vehicle_rollups AS r ON r.vehicle_key = ANY (ARRAY[p.vehicle_key])
        AND r.hours = ANY (ARRAY[p.hours]) AND r.start >= p.since AND r.start < p.until
    UNION ALL
    SELECT r.vehicle_key, NULL, width_bucket(r.recorded_at, %(starts)s::timestamptz[]), 1,
        CASE WHEN r.meter_key IS NULL AND NOT EXISTS (
            SELECT
            FROM meter_assignments AS a
            WHERE a.vehicle_key = r.vehicle_key
                AND a.valid_from <= r.recorded_at AND coalesce(a.valid_until > r.recorded_at, true)
        ) THEN 1 ELSE 0 END,
        0, 0, r.kwh_delivered_dc, r.soc, r.battery_temp
    FROM wanted AS w
    JOIN {vehicle_readings} AS r
        ON r.vehicle_key = ANY (ARRAY[w.vehicle_key]) AND r.recorded_at >= w.since AND r.recorded_at < w.until
    UNION ALL
    SELECT p.vehicle_key, p.meter_key, width_bucket(r.start, %(starts)s::timestamptz[]),
        0, 0, r.minutes, r.kwh_consumed_ac, 0, 0, 0
    FROM unnest(
        %(meter_piece_vehicles)s::int4[], %(meter_piece_meters)s::int4[], %(meter_piece_hours)s::int2[],
        %(meter_piece_since)s::timestamptz[], %(meter_piece_until)s::timestamptz[]
    ) AS p (vehicle_key, meter_key, hours, since, until)
    JOIN meter_rollups AS r ON r.meter_key = ANY (ARRAY[p.meter_key])
        AND r.hours = ANY (ARRAY[p.hours]) AND r.start >= p.since AND r.start < p.until
    UNION ALL
    SELECT p.vehicle_key, p.meter_key,
        width_bucket(
            date_bin('1 minute', r.recorded_at, timestamptz '1970-01-01 00:00+00'), %(starts)s::timestamptz[]),
        0, 0, count(DISTINCT date_bin('1 minute', r.recorded_at, timestamptz '1970-01-01 00:00+00')),
        sum(r.kwh_consumed_ac), 0, 0, 0
    FROM unnest(
        %(meter_raw_vehicles)s::int4[], %(meter_raw_meters)s::int4[],
        %(meter_raw_since)s::timestamptz[], %(meter_raw_until)s::timestamptz[]
    ) AS p (vehicle_key, meter_key, since, until)
    JOIN {meter_readings} AS r
        ON r.meter_key = ANY (ARRAY[p.meter_key]) AND r.recorded_at >= p.since AND r.recorded_at < p.until
    GROUP BY 1, 2, 3
), sums AS (
    SELECT vehicle_key, bucket,
        sum(readings)::int8 AS readings, sum(readings_without_meter)::int8 AS readings_without_meter,
        sum(readings)::int8 AS readings_kept, sum(minutes_kept)::int8 AS minutes_kept,
        0::int8 AS minutes_shared, 0::int8 AS minutes_without_meter_data,
        sum(kwh_consumed_ac) AS kwh_consumed_ac, sum(kwh_delivered_dc) AS kwh_delivered_dc,
        sum(sum_soc) AS sum_soc, sum(sum_battery_temp) AS sum_battery_temp,
        array_agg(DISTINCT meter_key) FILTER (WHERE minutes_kept > 0) AS meter_keys
    FROM parts
    GROUP BY vehicle_key, bucket
)
SELECT asked.device_id AS vehicle_id, sums.bucket,
    sums.readings, sums.readings_without_meter, sums.readings_kept,
    sums.minutes_kept, sums.minutes_shared, sums.minutes_without_meter_data,
    sums.kwh_consumed_ac, sums.kwh_delivered_dc, sums.sum_soc, sums.sum_battery_temp,
    CASE WHEN %(with_meters)s::bool THEN (
        SELECT array_agg(device_id ORDER BY device_id) FROM devices WHERE device_key = ANY (sums.meter_keys)
    ) END AS meter_ids
FROM sums
JOIN asked USING (vehicle_key)
