-- Notes that all devices whose rule has changed are to be looked at again, from the beginning of the window that ends now on:
-- a meter and the vehicles at it since then or with an alert open about it, or for the fleet (0) everybody. In order of
-- key, as whoever notes devices does, so that none waits for another in a circle. Vehicles by vehicle_rollups_meter and
-- efficiency_alerts_meter.
WITH begun AS MATERIALIZED (
    SELECT date_trunc('hour', now()) - make_interval(hours => rule.window_hours) AS hour
    FROM efficiency_rules AS rule
    WHERE rule.meter_key IN (0, %(meter_key)s)
    ORDER BY rule.meter_key DESC
    LIMIT 1
), concerned AS (
    SELECT %(meter_key)s::int4 AS device_key WHERE %(meter_key)s > 0
    UNION
    SELECT r.vehicle_key FROM vehicle_rollups AS r, begun
    WHERE r.meter_key = %(meter_key)s AND %(meter_key)s > 0 AND r.hours = 1 AND r.start >= begun.hour
    UNION
    SELECT a.vehicle_key FROM efficiency_alerts AS a
    WHERE a.meter_key = %(meter_key)s AND a.state = 1 AND a.vehicle_key > 0 AND %(meter_key)s > 0
    UNION
    SELECT device_key FROM devices WHERE %(meter_key)s = 0
)
INSERT INTO efficiency_due (device_key, hour)
SELECT device_key, hour FROM concerned, begun ORDER BY device_key
ON CONFLICT (device_key) DO UPDATE SET hour = least(efficiency_due.hour, excluded.hour)
