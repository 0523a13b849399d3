-- The keys of the devices of one kind that are registered. Carried by the unique index on devices (kind, device_id).
SELECT device_id, device_key FROM devices WHERE kind = %(kind)s AND device_id = ANY(%(ids)s::text[])
