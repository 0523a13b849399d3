-- log_from, and the UTC days that have partitions of both histories. One row.
SELECT log_from,
    array(
        SELECT to_date(right(relname, 8), 'YYYYMMDD')
        FROM pg_inherits
        JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'vehicle_readings'::regclass
            AND to_regclass('meter_readings_' || right(relname, 8)) IS NOT NULL
        ORDER BY 1
    ) AS days
FROM rollup_state
