-- Waits until nobody is left who writes history and entered before log_from was moved the last time.
SELECT pg_advisory_xact_lock(
    hashtext('wattstream.history'), (extract(epoch FROM previous_log_from) / 3600)::int4)
FROM rollup_state
WHERE previous_log_from < log_from
