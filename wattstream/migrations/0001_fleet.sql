-- The fleet: which devices there are, and which meter a vehicle charges behind.
--
-- Both are small: on a distributed database they are reference tables. Device keys are what history is stored under,
-- four bytes instead of an id of up to 64.

CREATE TABLE devices (
    device_key    int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          int2 NOT NULL CHECK (kind IN (1, 2)), -- 1 meter, 2 vehicle, as in DeviceKind
    device_id     text COLLATE "C" NOT NULL CHECK (length(device_id) BETWEEN 1 AND 64),
    registered_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, device_id)
);

-- Half-open: [valid_from, valid_until), until further notice where valid_until is null. At most one meter at a time a
-- vehicle; the ingest service holds the vehicle's row in devices locked while it looks and writes.
CREATE TABLE meter_assignments (
    assignment_id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vehicle_key   int4 NOT NULL REFERENCES devices,
    meter_key     int4 NOT NULL REFERENCES devices,
    valid_from    timestamptz NOT NULL,
    valid_until   timestamptz,
    CHECK (valid_until > valid_from)
);

CREATE INDEX meter_assignments_vehicle ON meter_assignments (vehicle_key, valid_from);
CREATE INDEX meter_assignments_meter ON meter_assignments (meter_key, valid_from);
