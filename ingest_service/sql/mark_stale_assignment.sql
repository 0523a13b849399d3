-- Notes which rollups are out of date now that a vehicle has, or no longer has, a meter for the half-open time
-- [since, until), null for no end. Carried by the primary key of vehicle_rollups, stale_hours_device, and what carries
-- mark_stale.sql.
SELECT mark_stale_assignment(
    %(vehicle_key)s::int4, %(meter_key)s::int4, %(since)s::timestamptz, %(until)s::timestamptz, %(entered)s::timestamptz)
