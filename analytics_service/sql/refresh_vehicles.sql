-- Computes the hourly rollups of vehicles anew, for the hours %(hours)s of the devices %(device_keys)s, one with the other, and
-- notes of what has changed that it is to be looked at for alerts. Devices that are no vehicles are left out.
--
-- History only grows: an hour that has fewer readings now than its rollup was made of has been removed, and the rollup
-- stays. Minutes that are kept and others are summed apart first, which is cheaper than to sum with filters. Rollups are
-- found by the primary key of vehicle_rollups; see pairing.sql for the readings.
WITH wanted AS MATERIALIZED (
    SELECT device_key AS vehicle_key, hour, hour AS since, hour + interval '1 hour' AS until
    FROM unnest(%(device_keys)s::int4[], %(hours)s::timestamptz[]) AS asked (device_key, hour)
    JOIN devices USING (device_key)
    WHERE kind = 2
), {met}, {pairing}, sums AS MATERIALIZED (
    SELECT vehicle_key, date_bin('1 hour', minute, timestamptz '1970-01-01 00:00+00') AS start, meter_key, is_kept,
        count(*) AS minutes, count(*) FILTER (WHERE is_shared) AS minutes_shared,
        count(*) FILTER (WHERE is_without_meter_data) AS minutes_without_meter_data,
        sum(readings) AS readings, sum(kwh_ac) AS kwh_ac, sum(kwh_dc) AS kwh_dc, sum(soc) AS soc,
        sum(battery_temp) AS battery_temp
    FROM paired
    GROUP BY 1, 2, 3, 4
), fresh AS MATERIALIZED (
    SELECT vehicle_key, start, meter_key,
        sum(readings) AS readings, coalesce(sum(readings) FILTER (WHERE is_kept), 0) AS readings_kept,
        coalesce(sum(minutes) FILTER (WHERE is_kept), 0) AS minutes_kept, sum(minutes_shared) AS minutes_shared,
        sum(minutes_without_meter_data) AS minutes_without_meter_data,
        coalesce(sum(kwh_ac) FILTER (WHERE is_kept), 0) AS kwh_consumed_ac,
        coalesce(sum(kwh_dc) FILTER (WHERE is_kept), 0) AS kwh_delivered_dc,
        coalesce(sum(soc) FILTER (WHERE is_kept), 0) AS sum_soc,
        coalesce(sum(battery_temp) FILTER (WHERE is_kept), 0) AS sum_battery_temp,
        sum(kwh_dc) AS all_kwh_delivered_dc, sum(soc) AS all_sum_soc, sum(battery_temp) AS all_sum_battery_temp
    FROM sums
    GROUP BY vehicle_key, start, meter_key
    HAVING bool_or((vehicle_key, start) IN (SELECT vehicle_key, hour FROM wanted))
), before AS MATERIALIZED (
    SELECT r.vehicle_key, r.start, r.meter_key, r.readings
    FROM wanted AS w
    JOIN vehicle_rollups AS r
        ON r.vehicle_key = ANY (ARRAY[w.vehicle_key]) AND r.hours = 1 AND r.start = w.hour
), intact AS MATERIALIZED (
    SELECT vehicle_key, start
    FROM (
        SELECT vehicle_key, start, readings FROM fresh
        UNION ALL
        SELECT vehicle_key, start, -readings FROM before
    ) AS difference
    GROUP BY vehicle_key, start
    HAVING sum(readings) >= 0
), gone AS (
    DELETE FROM vehicle_rollups AS r
    USING (
        SELECT vehicle_key, start, meter_key FROM before WHERE (vehicle_key, start) IN (SELECT * FROM intact)
        EXCEPT
        SELECT vehicle_key, start, meter_key FROM fresh
    ) AS o
    WHERE r.vehicle_key = ANY (ARRAY[o.vehicle_key]) AND r.hours = 1 AND r.start = o.start AND r.meter_key = o.meter_key
    RETURNING r.vehicle_key, r.meter_key, r.start
), stored AS (
    INSERT INTO vehicle_rollups (
        vehicle_key, hours, start, meter_key,
        readings, readings_kept, minutes_kept, minutes_shared, minutes_without_meter_data, kwh_consumed_ac,
        kwh_delivered_dc, sum_soc, sum_battery_temp, all_kwh_delivered_dc, all_sum_soc, all_sum_battery_temp)
    SELECT vehicle_key, 1, start, meter_key,
        readings, readings_kept, minutes_kept, minutes_shared, minutes_without_meter_data, kwh_consumed_ac,
        kwh_delivered_dc, sum_soc, sum_battery_temp, all_kwh_delivered_dc, all_sum_soc, all_sum_battery_temp
    FROM fresh
    WHERE (vehicle_key, start) IN (SELECT * FROM intact)
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
    RETURNING vehicle_key, meter_key, start
), changed AS (
    SELECT * FROM stored
    UNION ALL
    SELECT * FROM gone
)
INSERT INTO efficiency_due (device_key, hour)
SELECT device_key, min(start)
FROM (
    SELECT vehicle_key AS device_key, start FROM changed
    UNION ALL
    SELECT meter_key, start FROM changed WHERE meter_key > 0
) AS due
GROUP BY device_key
ORDER BY device_key
ON CONFLICT (device_key) DO UPDATE SET hour = least(efficiency_due.hour, excluded.hour)
