-- The readings after a number, in order; accepted_at in Unix seconds. Carried by the primary key.
SELECT seq, reading, accepted_at FROM readings WHERE seq > ? ORDER BY seq LIMIT ?
