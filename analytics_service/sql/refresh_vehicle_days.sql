-- Computes the daily rollups of vehicles anew from the hourly ones, for the UTC days before %(log_from)s that hold the hours
-- %(hours)s of the devices %(device_keys)s, one with the other. Days of which other hours are still stale for
-- everybody are left until those are done. By stale_hours_device and the primary key of vehicle_rollups.
WITH unfinished AS MATERIALIZED (
    SELECT date_bin('1 day', hour, timestamptz '1970-01-01 00:00+00') AS day
    FROM stale_hours
    WHERE device_key = 0 AND hour <> ALL (%(hours)s::timestamptz[])
), wanted AS MATERIALIZED (
    SELECT DISTINCT device_key AS vehicle_key, date_bin('1 day', hour, timestamptz '1970-01-01 00:00+00') AS day
    FROM unnest(%(device_keys)s::int4[], %(hours)s::timestamptz[]) AS asked (device_key, hour)
    WHERE hour < date_bin('1 day', %(log_from)s::timestamptz, timestamptz '1970-01-01 00:00+00')
        AND date_bin('1 day', hour, timestamptz '1970-01-01 00:00+00') NOT IN (SELECT day FROM unfinished)
), fresh AS MATERIALIZED (
    SELECT w.vehicle_key, w.day, r.meter_key,
        sum(r.readings) AS readings, sum(r.readings_kept) AS readings_kept, sum(r.minutes_kept) AS minutes_kept,
        sum(r.minutes_shared) AS minutes_shared, sum(r.minutes_without_meter_data) AS minutes_without_meter_data,
        sum(r.kwh_consumed_ac) AS kwh_consumed_ac, sum(r.kwh_delivered_dc) AS kwh_delivered_dc,
        sum(r.sum_soc) AS sum_soc, sum(r.sum_battery_temp) AS sum_battery_temp,
        sum(r.all_kwh_delivered_dc) AS all_kwh_delivered_dc, sum(r.all_sum_soc) AS all_sum_soc,
        sum(r.all_sum_battery_temp) AS all_sum_battery_temp
    FROM wanted AS w
    JOIN vehicle_rollups AS r ON r.vehicle_key = ANY (ARRAY[w.vehicle_key])
        AND r.hours = 1 AND r.start >= w.day AND r.start < w.day + interval '1 day'
    GROUP BY 1, 2, 3
), gone AS (
    DELETE FROM vehicle_rollups AS r
    USING wanted AS w
    WHERE r.vehicle_key = ANY (ARRAY[w.vehicle_key]) AND r.hours = 24 AND r.start = w.day
        AND (r.vehicle_key, r.start, r.meter_key) NOT IN (SELECT vehicle_key, day, meter_key FROM fresh)
)
INSERT INTO vehicle_rollups (
    vehicle_key, hours, start, meter_key,
    readings, readings_kept, minutes_kept, minutes_shared, minutes_without_meter_data, kwh_consumed_ac,
    kwh_delivered_dc, sum_soc, sum_battery_temp, all_kwh_delivered_dc, all_sum_soc, all_sum_battery_temp)
SELECT vehicle_key, 24, day, meter_key,
    readings, readings_kept, minutes_kept, minutes_shared, minutes_without_meter_data, kwh_consumed_ac,
    kwh_delivered_dc, sum_soc, sum_battery_temp, all_kwh_delivered_dc, all_sum_soc, all_sum_battery_temp
FROM fresh
ON CONFLICT (vehicle_key, hours, start, meter_key) DO UPDATE SET (
    readings, readings_kept, minutes_kept, minutes_shared, minutes_without_meter_data, kwh_consumed_ac,
    kwh_delivered_dc, sum_soc, sum_battery_temp, all_kwh_delivered_dc, all_sum_soc, all_sum_battery_temp
) = (
    excluded.readings, excluded.readings_kept, excluded.minutes_kept, excluded.minutes_shared,
    excluded.minutes_without_meter_data, excluded.kwh_consumed_ac, excluded.kwh_delivered_dc, excluded.sum_soc,
    excluded.sum_battery_temp, excluded.all_kwh_delivered_dc, excluded.all_sum_soc, excluded.all_sum_battery_temp)
WHERE (
    vehicle_rollups.readings, vehicle_rollups.readings_kept, vehicle_rollups.minutes_kept,
    vehicle_rollups.minutes_shared, vehicle_rollups.minutes_without_meter_data, vehicle_rollups.kwh_consumed_ac,
    vehicle_rollups.kwh_delivered_dc, vehicle_rollups.sum_soc, vehicle_rollups.sum_battery_temp,
    vehicle_rollups.all_kwh_delivered_dc, vehicle_rollups.all_sum_soc, vehicle_rollups.all_sum_battery_temp
) IS DISTINCT FROM (
    excluded.readings, excluded.readings_kept, excluded.minutes_kept, excluded.minutes_shared,
    excluded.minutes_without_meter_data, excluded.kwh_consumed_ac, excluded.kwh_delivered_dc, excluded.sum_soc,
    excluded.sum_battery_temp, excluded.all_kwh_delivered_dc, excluded.all_sum_soc, excluded.all_sum_battery_temp)
