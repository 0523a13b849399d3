-- Takes out of the log what refreshing an hour for everybody makes up for, all that is noted of it up to the note
-- %(newest_id)s, but for the note %(stale_id)s itself. By stale_hours_hour.
DELETE FROM stale_hours
WHERE hour = %(hour)s::timestamptz AND after_key = 0 AND stale_id <= %(newest_id)s::int8 AND stale_id <> %(stale_id)s::int8
