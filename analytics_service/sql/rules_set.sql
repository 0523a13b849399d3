-- Sets the rule of a meter, or of the fleet where the id is empty; no row if there is no such meter. Threshold and hysteresis
-- as DC/AC, the window in hours.
INSERT INTO efficiency_rules (meter_key, threshold, hysteresis, least_minutes, window_hours)
SELECT meter_key, %(threshold)s, %(hysteresis)s, %(least_minutes)s, %(window_hours)s
FROM (
    SELECT device_key AS meter_key FROM devices WHERE kind = 1 AND device_id = %(meter_id)s
    UNION ALL
    SELECT 0 WHERE %(meter_id)s = ''
) AS concerned
ON CONFLICT (meter_key) DO UPDATE
SET threshold = excluded.threshold, hysteresis = excluded.hysteresis, least_minutes = excluded.least_minutes,
    window_hours = excluded.window_hours
RETURNING meter_key
