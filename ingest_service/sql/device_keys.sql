-- The devices of one kind in order of key, a slice at a time. Carried by the primary key of devices.
SELECT device_key, device_id FROM devices
WHERE kind = %(kind)s AND device_key > %(after)s ORDER BY device_key LIMIT %(most)s
