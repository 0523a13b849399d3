-- Notes in which UTC hours vehicles name meters, ahead of the readings that do. Times are microseconds since 1970.
-- In order of the key, so that two at once do not deadlock. Carried by the primary key of meter_vehicle_hours.
INSERT INTO meter_vehicle_hours (meter_key, hour, vehicle_key)
SELECT meter_key, to_timestamp(hours_since_1970 * 3600.0), vehicle_key
FROM unnest(%(meter_keys)s::int4[], %(hours)s::int8[], %(vehicle_keys)s::int4[])
    AS noted (meter_key, hours_since_1970, vehicle_key)
ORDER BY meter_key, hours_since_1970, vehicle_key
ON CONFLICT DO NOTHING
