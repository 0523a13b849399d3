-- Which subjects of devices that were taken are worth a closer look: those with a row below the threshold in the hours that
-- have changed, and those with an alert that may change. A subject is a vehicle (meter_key 0), a meter (vehicle_key 0) or
-- a vehicle at a meter. With each the first hour that has changed, whether it has such an alert, and its rule: threshold
-- and hysteresis as DC/AC, the window in hours.
--
-- A closed alert may change while its hours are in the longest window there may be, or what closed it may have changed. A
-- few hours of each device, by index-only scans of the primary key of vehicle_rollups and of vehicle_rollups_meter; its
-- alerts by efficiency_alerts_subject. ANY keeps the planner from reading whole tables beside the devices.
WITH due AS MATERIALIZED (
    SELECT * FROM unnest(%(device_keys)s::int4[], %(hours)s::timestamptz[]) AS d (device_key, hour)
), low AS (
    SELECT r.vehicle_key, r.meter_key, d.hour, 0 AS subject_vehicle
    FROM due AS d
    JOIN vehicle_rollups AS r ON r.meter_key = ANY (ARRAY[d.device_key]) AND r.hours = 1 AND r.start >= d.hour
    CROSS JOIN (SELECT max(threshold) AS threshold FROM efficiency_rules) AS highest
    WHERE r.kwh_delivered_dc < highest.threshold * r.kwh_consumed_ac AND r.minutes_kept > 0
    UNION ALL
    SELECT r.vehicle_key, r.meter_key, d.hour, r.vehicle_key
    FROM due AS d
    JOIN vehicle_rollups AS r ON r.vehicle_key = ANY (ARRAY[d.device_key]) AND r.hours = 1 AND r.start >= d.hour
    CROSS JOIN (SELECT max(threshold) AS threshold FROM efficiency_rules) AS highest
    WHERE r.kwh_delivered_dc < highest.threshold * r.kwh_consumed_ac AND r.minutes_kept > 0
), alerted AS (
    SELECT a.vehicle_key, a.meter_key, d.hour, a.state, a.until, a.closed_at
    FROM due AS d
    JOIN efficiency_alerts AS a ON a.vehicle_key = ANY (ARRAY[d.device_key])
    UNION ALL
    SELECT a.vehicle_key, a.meter_key, d.hour, a.state, a.until, a.closed_at
    FROM due AS d
    JOIN efficiency_alerts AS a ON a.vehicle_key = ANY (ARRAY[0]) AND a.meter_key = ANY (ARRAY[d.device_key])
), subjects AS (
    SELECT subject_vehicle AS vehicle_key, meter_key, hour, false AS is_alerted FROM low
    UNION ALL
    SELECT vehicle_key, 0, hour, false FROM low WHERE subject_vehicle > 0
    UNION ALL
    SELECT vehicle_key, meter_key, hour, true
    FROM alerted
    WHERE state = 1
        OR (state = 2 AND (until > hour - interval '168 hours' OR closed_at >= hour - interval '1 hour'))
)
SELECT s.vehicle_key, s.meter_key, min(s.hour) AS hour, bool_or(s.is_alerted) AS is_alerted,
    rule.threshold, rule.hysteresis, rule.least_minutes, rule.window_hours
FROM subjects AS s
JOIN efficiency_rules AS rule
    ON rule.meter_key = CASE WHEN s.meter_key IN (SELECT meter_key FROM efficiency_rules) THEN s.meter_key ELSE 0 END
GROUP BY s.vehicle_key, s.meter_key, rule.meter_key
