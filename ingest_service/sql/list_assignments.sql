-- A page of assignments by vehicle id, then start: number, ids of vehicle and meter, from when, until when, and the start
-- in microseconds since 1970 UTC. Of one vehicle or meter carried by meter_assignments_vehicle and
-- meter_assignments_meter.
SELECT assignment_id, vehicle_id, meter_id, valid_from, valid_until, from_us
FROM (
    SELECT assignment_id, vehicle.device_id AS vehicle_id, meter.device_id AS meter_id, valid_from, valid_until,
           (extract(epoch FROM valid_from) * 1000000)::int8 AS from_us
    FROM meter_assignments
    JOIN devices AS vehicle ON vehicle.device_key = vehicle_key
    JOIN devices AS meter ON meter.device_key = meter_key
    WHERE (%(vehicle_id)s = '' OR (vehicle.kind = 2 AND vehicle.device_id = %(vehicle_id)s))
        AND (%(meter_id)s = '' OR (meter.kind = 1 AND meter.device_id = %(meter_id)s))
        AND (%(valid_at)s::timestamptz IS NULL
             OR (valid_from <= %(valid_at)s AND coalesce(valid_until, 'infinity') > %(valid_at)s))
) AS assignment
WHERE (vehicle_id, from_us) > (%(after_id)s::text, %(after_us)s)
ORDER BY vehicle_id, from_us LIMIT %(most)s
