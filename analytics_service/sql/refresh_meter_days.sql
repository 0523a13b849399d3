-- Computes the daily rollups of meters anew from the hourly ones, for the UTC days before %(log_from)s that hold the hours
-- %(hours)s of the devices %(device_keys)s, one with the other. Days of which other hours are still stale for
-- everybody are left until those are done. By stale_hours_device and the primary key of meter_rollups.
WITH unfinished AS MATERIALIZED (
    SELECT date_bin('1 day', hour, timestamptz '1970-01-01 00:00+00') AS day
    FROM stale_hours
    WHERE device_key = 0 AND hour <> ALL (%(hours)s::timestamptz[])
), wanted AS MATERIALIZED (
    SELECT DISTINCT device_key AS meter_key, date_bin('1 day', hour, timestamptz '1970-01-01 00:00+00') AS day
    FROM unnest(%(device_keys)s::int4[], %(hours)s::timestamptz[]) AS asked (device_key, hour)
    WHERE hour < date_bin('1 day', %(log_from)s::timestamptz, timestamptz '1970-01-01 00:00+00')
        AND date_bin('1 day', hour, timestamptz '1970-01-01 00:00+00') NOT IN (SELECT day FROM unfinished)
)
INSERT INTO meter_rollups (meter_key, hours, start, readings, minutes, kwh_consumed_ac)
SELECT w.meter_key, 24, w.day, sum(r.readings), sum(r.minutes), sum(r.kwh_consumed_ac)
FROM wanted AS w
JOIN meter_rollups AS r ON r.meter_key = ANY (ARRAY[w.meter_key])
    AND r.hours = 1 AND r.start >= w.day AND r.start < w.day + interval '1 day'
GROUP BY w.meter_key, w.day
ON CONFLICT (meter_key, hours, start) DO UPDATE
SET readings = excluded.readings, minutes = excluded.minutes, kwh_consumed_ac = excluded.kwh_consumed_ac
WHERE meter_rollups.readings < excluded.readings
