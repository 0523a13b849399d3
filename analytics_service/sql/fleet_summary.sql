-- What the whole fleet consumed, got and lost, in one row: sums over what is kept (energies in kWh, minutes as (vehicle,
-- meter, minute)), vehicles by efficiency in the bins that %(bins)s bound, devices that report and that do not, and, with
-- %(with_gaps)s, the stretches of whole hours without a reading between two readings of a meter.
--
-- Meters are read as vehicles are in fleet.sql: rollups by meter_rollups_start, readings of stale and newest hours.
WITH {fleet}, vehicles AS MATERIALIZED (
    SELECT vehicle_key,
        coalesce(sum(readings) FILTER (WHERE meter_key = 0), 0) AS readings_without_meter,
        sum(minutes_kept) AS minutes_kept, sum(minutes_shared) AS minutes_shared,
        sum(minutes_without_meter_data) AS minutes_without_meter_data,
        sum(kwh_consumed_ac) AS kwh_consumed_ac, sum(kwh_delivered_dc) AS kwh_delivered_dc,
        sum(all_kwh_delivered_dc) AS all_kwh_delivered_dc
    FROM parts
    GROUP BY vehicle_key
), bins AS (
    SELECT array_agg(coalesce(vehicles, 0) ORDER BY bin) AS vehicles
    FROM generate_series(0, cardinality(%(bins)s::float8[])) AS bin
    LEFT JOIN (
        SELECT width_bucket(
                -- Not out of the range of numbers, whatever a meter sends.
                CASE WHEN kwh_delivered_dc > 1e-100 THEN kwh_delivered_dc / greatest(kwh_consumed_ac, 1e-100) ELSE 0 END,
                %(bins)s::float8[]) AS bin,
            count(*) AS vehicles
        FROM vehicles
        WHERE kwh_consumed_ac > 0
        GROUP BY 1
    ) AS counted USING (bin)
), wanted_meters AS MATERIALIZED (
    SELECT device_key AS meter_key, since, until
    FROM unnest(%(raw_since)s::timestamptz[], %(raw_until)s::timestamptz[]) AS raw (since, until)
    JOIN devices ON kind = 1
    UNION ALL
    SELECT device_key, hour, hour + interval '1 hour'
    FROM stale
    JOIN devices USING (device_key)
    WHERE kind = 1
), meter_parts AS NOT MATERIALIZED (
    SELECT r.meter_key, r.start, r.kwh_consumed_ac
    FROM unnest(%(meter_piece_hours)s::int2[], %(meter_piece_since)s::timestamptz[],
            %(meter_piece_until)s::timestamptz[]) AS p (hours, since, until)
    JOIN meter_rollups AS r ON r.hours = ANY (ARRAY[p.hours]) AND r.start >= p.since AND r.start < p.until
    WHERE (r.meter_key, r.start) NOT IN (SELECT device_key, hour FROM stale)
    UNION ALL
    SELECT r.meter_key, date_bin('1 hour', r.recorded_at, timestamptz '1970-01-01 00:00+00'), sum(r.kwh_consumed_ac)
    FROM wanted_meters AS w
    JOIN {meter_readings} AS r
        ON r.meter_key = ANY (ARRAY[w.meter_key]) AND r.recorded_at >= w.since AND r.recorded_at < w.until
    GROUP BY 1, 2
), meters AS MATERIALIZED (
    SELECT meter_key, sum(kwh_consumed_ac) AS kwh_consumed_ac,
        max(start) - min(start) >= count(*) * interval '1 hour' AS has_gaps
    FROM meter_parts
    GROUP BY meter_key
), gaps AS (
    -- Of few meters, mostly: hours are sorted and compared of those alone that have gaps.
    SELECT extract(epoch FROM step)::int8 / 3600 - 1 AS hours
    FROM (
        SELECT start - lag(start) OVER (PARTITION BY meter_key ORDER BY start) AS step
        FROM meter_parts
        WHERE %(with_gaps)s::bool AND meter_key IN (SELECT meter_key FROM meters WHERE has_gaps)
    ) AS steps
    WHERE step > interval '1 hour'
), registered AS (
    SELECT count(*) FILTER (WHERE kind = 1) AS meters_registered,
        count(*) FILTER (WHERE kind = 2) AS vehicles_registered
    FROM devices
)
SELECT v.*, m.*, g.*, bins.vehicles AS histogram, registered.*
FROM (
    SELECT count(*) AS vehicles_reporting,
        coalesce(sum(kwh_consumed_ac), 0) AS kwh_consumed_ac, coalesce(sum(kwh_delivered_dc), 0) AS kwh_delivered_dc,
        coalesce(sum(all_kwh_delivered_dc), 0) AS kwh_reported_dc,
        coalesce(sum(minutes_kept), 0)::int8 AS minutes_kept, coalesce(sum(minutes_shared), 0)::int8 AS minutes_shared,
        coalesce(sum(minutes_without_meter_data), 0)::int8 AS minutes_without_meter_data,
        coalesce(sum(readings_without_meter), 0)::int8 AS readings_without_meter,
        count(*) FILTER (WHERE kwh_delivered_dc > kwh_consumed_ac AND kwh_consumed_ac > 0) AS vehicles_above_one
    FROM vehicles
) AS v, (
    SELECT count(*) AS meters_reporting, coalesce(sum(kwh_consumed_ac), 0) AS kwh_metered_ac
    FROM meters
) AS m, (
    SELECT count(*) AS meter_gaps, coalesce(sum(hours), 0)::int8 AS meter_gap_hours,
        coalesce(max(hours), 0)::int8 AS longest_meter_gap_hours
    FROM gaps
) AS g, bins, registered
