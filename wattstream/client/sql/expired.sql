-- The numbers after a number of what was accepted before a time (Unix seconds), in order, with their bytes.
SELECT seq, length(reading) + length(device) + 32 FROM readings WHERE seq > ? AND accepted_at < ? ORDER BY seq
