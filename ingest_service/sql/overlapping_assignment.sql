-- The first assignment of a vehicle that overlaps the half-open time [valid_from, valid_until), but for one that may be
-- left out. Carried by meter_assignments_vehicle.
SELECT assignment_id, meter.device_id, valid_from, valid_until
FROM meter_assignments JOIN devices AS meter ON meter.device_key = meter_key
WHERE vehicle_key = %(vehicle_key)s AND assignment_id <> %(but)s
    AND valid_from < coalesce(%(valid_until)s::timestamptz, 'infinity')
    AND coalesce(valid_until, 'infinity') > %(valid_from)s::timestamptz
ORDER BY valid_from LIMIT 1
