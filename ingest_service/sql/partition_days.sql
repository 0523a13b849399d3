-- The UTC days that have a partition of vehicle or meter history, newest first.
SELECT DISTINCT to_date(right(child.relname, 8), 'YYYYMMDD') AS day
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent IN ('meter_readings'::regclass, 'vehicle_readings'::regclass)
ORDER BY day DESC
