-- The UTC days that have partitions of both histories, in order, as a part of other statements.
array(
    SELECT to_date(right(relname, 8), 'YYYYMMDD')
    FROM pg_inherits
    JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'vehicle_readings'::regclass
        AND to_regclass('meter_readings_' || right(relname, 8)) IS NOT NULL
    ORDER BY 1
)
