-- Takes the next devices, by key, whose rollups have changed since they were looked at, and the first hour that did; not
-- those for which rollups are out of date in hours that would be looked at, unless they have waited too long. Whoever
-- stores rollups of a device that is taken waits for the end of this transaction, and notes it anew. efficiency_due by its
-- primary key, stale_hours by stale_hours_device.
DELETE FROM efficiency_due
WHERE device_key = ANY (ARRAY(
    SELECT d.device_key
    FROM efficiency_due AS d
    WHERE d.device_key > %(after_key)s
        AND (d.device_key = ANY (%(overdue)s::int4[]) OR NOT EXISTS (
            SELECT FROM stale_hours AS s
            WHERE s.device_key = ANY (ARRAY[0, d.device_key])
                AND s.hour > d.hour - make_interval(hours => (SELECT max(window_hours) FROM efficiency_rules))))
    ORDER BY d.device_key
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED))
RETURNING device_key, hour
