-- The keys of the meters with these ids; at least one row, its device_key null if there is none. By the unique index on
-- (kind, device_id).
SELECT array_agg(device_key) AS meter_keys
FROM devices
WHERE kind = 1 AND device_id = ANY (%(meter_ids)s::text[])
