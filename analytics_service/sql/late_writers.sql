-- The newest note of the log, 0 if there is none, and the transactions in progress that have noted late readings, by the
-- lock that mark_stale() takes for them. One row. By the primary key of stale_hours.
SELECT coalesce((SELECT max(stale_id) FROM stale_hours), 0) AS newest_id,
    array(
        SELECT virtualtransaction
        FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::int8 << 32) | objid::int8 = hashtext('wattstream.assignments')::int8
    ) AS writers
