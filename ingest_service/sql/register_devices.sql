-- Registers devices of one kind that are not registered yet. In order of id, so that two at once do not deadlock.
-- Carried by the unique index on devices (kind, device_id).
INSERT INTO devices (kind, device_id)
SELECT %(kind)s, device_id FROM unnest(%(ids)s::text[]) AS device_id ORDER BY device_id
ON CONFLICT (kind, device_id) DO NOTHING
