-- The meters that vehicles may be on, as a part of other statements: from wanted (vehicle_key, hour, since, until) to met
-- (meter_key, hour, since, until). By meter_vehicle_hours_vehicle and meter_assignments_vehicle.
met AS MATERIALIZED (
    SELECT n.meter_key, w.hour, w.since, w.until
    FROM wanted AS w
    JOIN meter_vehicle_hours AS n ON n.vehicle_key = ANY (ARRAY[w.vehicle_key]) AND n.hour = w.hour
    UNION
    SELECT a.meter_key, w.hour, w.since, w.until
    FROM wanted AS w
    JOIN meter_assignments AS a ON a.vehicle_key = ANY (ARRAY[w.vehicle_key])
        AND a.valid_from < w.until AND coalesce(a.valid_until > w.since, true)
)
