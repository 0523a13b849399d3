-- The newest hour that is stale for everybody by a note up to %(newest_id)s, with the key up to which devices are done; an
-- hour that is half done comes before one that is not begun. None or one row. Read by stale_hours_device.
SELECT stale_id, hour, after_key
FROM stale_hours
WHERE device_key = 0 AND stale_id <= %(newest_id)s::int8 AND noted_at <= now() - %(settle)s::interval
ORDER BY after_key = 0, hour DESC, stale_id
LIMIT 1
