-- Forgets the readings from one number to another, and tells how many bytes each counted for. Carried by the primary
-- key.
DELETE FROM readings WHERE seq BETWEEN ? AND ? RETURNING length(reading) + length(device) + 32
