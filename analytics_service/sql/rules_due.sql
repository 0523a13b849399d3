-- Notes that all devices whose rule has changed are to be looked at again: a meter and the vehicles at it, or for the fleet
-- (0) everybody, from the beginning of the window that ends now on; who has an open alert by the rule from its beginning
-- on. In order of key, as whoever notes devices does, so that none waits for another in a circle. Vehicles by
-- vehicle_rollups_meter, alerts by efficiency_alerts_open.
WITH begun AS MATERIALIZED (
    SELECT date_trunc('hour', now()) - make_interval(hours => rule.window_hours) AS hour
    FROM efficiency_rules AS rule
    WHERE rule.meter_key IN (0, %(meter_key)s)
    ORDER BY rule.meter_key DESC
    LIMIT 1
), concerned AS (
    SELECT %(meter_key)s::int4 AS device_key, hour FROM begun WHERE %(meter_key)s > 0
    UNION ALL
    SELECT r.vehicle_key, begun.hour
    FROM begun
    JOIN vehicle_rollups AS r ON r.meter_key = %(meter_key)s AND r.hours = 1 AND r.start >= begun.hour
    WHERE %(meter_key)s > 0
    UNION ALL
    SELECT device_key, hour FROM devices, begun WHERE %(meter_key)s = 0
    UNION ALL
    SELECT CASE WHEN vehicle_key > 0 THEN vehicle_key ELSE meter_key END, since
    FROM efficiency_alerts
    WHERE state = 1 AND %(meter_key)s IN (0, meter_key)
)
INSERT INTO efficiency_due (device_key, hour)
SELECT device_key, min(hour) FROM concerned GROUP BY device_key ORDER BY device_key
ON CONFLICT (device_key) DO UPDATE SET hour = least(efficiency_due.hour, excluded.hour)
