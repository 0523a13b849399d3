-- Assigns a meter to a vehicle for the half-open time [valid_from, valid_until); answers the assignment's number.
INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from, valid_until)
VALUES (%(vehicle_key)s, %(meter_key)s, %(valid_from)s, %(valid_until)s)
RETURNING assignment_id
