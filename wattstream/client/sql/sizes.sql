-- The numbers after a number, in order, and the bytes that each counts for. Carried by the primary key.
SELECT seq, length(reading) + length(device) + 32 FROM readings WHERE seq > ? ORDER BY seq
