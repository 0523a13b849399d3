-- How many readings there are, the last number, and the bytes that they count for: their own and 32 of the row.
SELECT count(*), coalesce(max(seq), 0), coalesce(sum(length(reading) + length(device) + 32), 0) FROM readings
