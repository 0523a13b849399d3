-- Deletes the rule of a meter; no row if it has none.
DELETE FROM efficiency_rules
WHERE meter_key = (SELECT device_key FROM devices WHERE kind = 1 AND device_id = %(meter_id)s)
RETURNING meter_key
