-- Takes the newest device-hours that are stale by notes up to %(newest_id)s out of the log, at most %(most)s notes, and
-- answers them, each once. What is noted of them later stays. By stale_hours_hour and the primary key of stale_hours.
WITH taken AS (
    DELETE FROM stale_hours
    WHERE stale_id IN (
        SELECT stale_id
        FROM stale_hours
        WHERE device_key > 0 AND stale_id <= %(newest_id)s::int8 AND noted_at <= now() - %(settle)s::interval
        ORDER BY hour DESC
        LIMIT %(most)s::int8
    )
    RETURNING device_key, hour
)
SELECT DISTINCT device_key, hour FROM taken
