-- Holds the vehicle of an assignment until the end of the transaction, so that its assignments are made one at a time.
-- Carried by the primary keys of meter_assignments and devices.
SELECT device_key FROM devices
WHERE device_key = (SELECT vehicle_key FROM meter_assignments WHERE assignment_id = %(assignment_id)s) FOR UPDATE
