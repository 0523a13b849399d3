-- A page of devices by kind, then id: kind, id, when registered. Carried by the unique index on devices
-- (kind, device_id).
SELECT kind, device_id, registered_at FROM devices
WHERE (kind, device_id) > (%(after_kind)s, %(after_id)s::text) AND (%(kind)s = 0 OR kind = %(kind)s)
ORDER BY kind, device_id LIMIT %(most)s
