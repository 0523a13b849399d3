-- One assignment: number, ids of vehicle and meter, from when, until when, keys of vehicle and meter. Carried by the
-- primary key of meter_assignments.
SELECT assignment_id, vehicle.device_id, meter.device_id, valid_from, valid_until, vehicle_key, meter_key
FROM meter_assignments
JOIN devices AS vehicle ON vehicle.device_key = vehicle_key
JOIN devices AS meter ON meter.device_key = meter_key
WHERE assignment_id = %(assignment_id)s
