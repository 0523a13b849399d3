-- Notes which rollups are out of date now that readings are stored: vehicle key or 0, meter key or 0, hours since 1970
-- UTC. Carried by the primary key of meter_vehicle_hours, meter_assignments_vehicle and meter_assignments_meter.
SELECT mark_stale(array_agg(vehicle_key), array_agg(meter_key), array_agg(to_timestamp(hours_since_1970 * 3600.0)))
FROM unnest(%(vehicle_keys)s::int4[], %(meter_keys)s::int4[], %(hours)s::int8[])
    AS touched (vehicle_key, meter_key, hours_since_1970)
