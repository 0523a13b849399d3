-- The rejected readings, the oldest first; the time in Unix seconds.
SELECT rejected_at, reading, field, reason, message FROM rejected ORDER BY seq
