-- Holds a vehicle until the end of the transaction, so that its assignments are made one at a time. Carried by the
-- primary key of devices.
SELECT device_key FROM devices WHERE device_key = %(vehicle_key)s FOR UPDATE
