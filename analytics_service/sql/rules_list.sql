-- The rules by which drops are found, by id of the meter, which is empty for the fleet: threshold and hysteresis as DC/AC,
-- least kept minutes, length of the window in hours.
SELECT coalesce(device_id, '') AS meter_id, threshold, hysteresis, least_minutes, window_hours
FROM efficiency_rules
LEFT JOIN devices ON device_key = meter_key
ORDER BY meter_id
