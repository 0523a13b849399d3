-- History: every reading, for ever, in one partition a UTC day. Append-only; a reading's identity is its primary key.
--
-- The primary keys carry the measured values along (INCLUDE), so that a device's window is an index-only scan: readings
-- lie in the heap minute by minute across all devices, and a heap fetch a reading would be a random page a reading.
-- Times are UTC, energies kWh of the interval that ends at recorded_at.

CREATE TABLE meter_readings (
    meter_key       int4 NOT NULL,
    recorded_at     timestamptz NOT NULL,
    kwh_consumed_ac float8 NOT NULL,
    voltage         float8 NOT NULL, -- volts
    PRIMARY KEY (meter_key, recorded_at) INCLUDE (kwh_consumed_ac)
) PARTITION BY RANGE (recorded_at);

CREATE TABLE vehicle_readings (
    vehicle_key      int4 NOT NULL,
    meter_key        int4, -- the meter that the reading names; null where it names none
    recorded_at      timestamptz NOT NULL,
    soc              float8 NOT NULL, -- percent
    kwh_delivered_dc float8 NOT NULL,
    battery_temp     float8 NOT NULL, -- degrees Celsius
    PRIMARY KEY (vehicle_key, recorded_at) INCLUDE (meter_key, soc, kwh_delivered_dc, battery_temp)
) PARTITION BY RANGE (recorded_at);

-- In which hours a vehicle named a meter, and so which vehicles to look at for who shared a meter's minute. Written ahead
-- of the readings, so it may hold an hour whose reading never came, never the other way round.
CREATE TABLE meter_vehicle_hours (
    meter_key   int4 NOT NULL,
    hour        timestamptz NOT NULL, -- the start of the UTC hour
    vehicle_key int4 NOT NULL,
    PRIMARY KEY (meter_key, hour, vehicle_key)
);

CREATE INDEX meter_vehicle_hours_vehicle ON meter_vehicle_hours (vehicle_key, hour) INCLUDE (meter_key);

-- Makes the partitions of the given UTC days, where they are missing. Attached rather than created in place, which would
-- lock out every reader of the table; vacuumed soon after each insert, which is what keeps index-only scans index-only.
CREATE FUNCTION ensure_partitions(days date[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent    text;
    day       date;
    partition text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('wattstream.ensure_partitions'));
    FOREACH day IN ARRAY days LOOP
        FOREACH parent IN ARRAY ARRAY['meter_readings', 'vehicle_readings'] LOOP
            partition := parent || to_char(day, '_YYYYMMDD');
            CONTINUE WHEN to_regclass(partition) IS NOT NULL;
            EXECUTE format(
                'CREATE TABLE %I (LIKE %I INCLUDING INDEXES INCLUDING CONSTRAINTS) WITH ('
                'autovacuum_vacuum_insert_threshold = 50000, autovacuum_vacuum_insert_scale_factor = 0.02, '
                'autovacuum_analyze_threshold = 50000)',
                partition, parent);
            EXECUTE format(
                'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                parent, partition,
                day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        END LOOP;
    END LOOP;
END $$;
