-- Every second reading of each device in the middle half of those after a number, in order, with the bytes that each
-- counts for. The oldest quarter and the newest are left alone. Carried by the primary key.
WITH candidates AS (
    SELECT
        seq, device, length(reading) + length(device) + 32 AS size,
        row_number() OVER (ORDER BY seq) AS place, count(*) OVER () AS total
    FROM readings WHERE seq > ?
), middle AS (
    SELECT seq, size, row_number() OVER (PARTITION BY device ORDER BY seq) AS turn
    FROM candidates WHERE place > total / 4 AND place <= total - total / 4
)
SELECT seq, size FROM middle WHERE turn % 2 = 0 ORDER BY seq
