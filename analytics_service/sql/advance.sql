-- Moves log_from to %(target)s if that is later, and notes the hours that it passes as stale for everybody, as far as there
-- are partitions of them; answers log_from as it was. By the primary key of rollup_state.
WITH moved AS (
    UPDATE rollup_state
    SET previous_log_from = log_from, log_from = %(target)s::timestamptz
    WHERE log_from < %(target)s::timestamptz
    RETURNING previous_log_from
)
INSERT INTO stale_hours (device_key, hour)
SELECT 0, hour
FROM moved
CROSS JOIN unnest(%(days)s::date[]) AS day
CROSS JOIN generate_series(day::timestamptz, day::timestamptz + interval '23 hours', interval '1 hour') AS hour
WHERE hour >= previous_log_from AND hour < %(target)s::timestamptz
ORDER BY hour
