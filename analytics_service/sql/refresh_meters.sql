-- Computes the hourly rollups of meters anew, for the hours %(hours)s of the devices %(device_keys)s, one with the other.
-- Devices that are no meters are left out. An hour that has fewer readings now than its rollup was made of has been
-- removed, and the rollup stays. By the primary key of the partitions, which are named, and of meter_rollups.
WITH wanted AS MATERIALIZED (
    SELECT device_key AS meter_key, hour
    FROM unnest(%(device_keys)s::int4[], %(hours)s::timestamptz[]) AS asked (device_key, hour)
    JOIN devices USING (device_key)
    WHERE kind = 1
)
INSERT INTO meter_rollups (meter_key, hours, start, readings, minutes, kwh_consumed_ac)
SELECT w.meter_key, 1, w.hour, count(*),
    count(DISTINCT date_bin('1 minute', r.recorded_at, timestamptz '1970-01-01 00:00+00')), sum(r.kwh_consumed_ac)
FROM wanted AS w
JOIN {meter_readings} AS r ON r.meter_key = ANY (ARRAY[w.meter_key])
    AND r.recorded_at >= w.hour AND r.recorded_at < w.hour + interval '1 hour'
GROUP BY w.meter_key, w.hour
ON CONFLICT (meter_key, hours, start) DO UPDATE
SET readings = excluded.readings, minutes = excluded.minutes, kwh_consumed_ac = excluded.kwh_consumed_ac
WHERE meter_rollups.readings < excluded.readings
