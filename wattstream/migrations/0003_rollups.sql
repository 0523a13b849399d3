-- Rollups: what the readings of an hour, or of a UTC day, add up to, and which of them are out of date.
--
-- Hours below rollup_state.log_from are rolled up, but for those in stale_hours; answers take readings in place of what
-- is stale or not rolled up. Hours at or after log_from are written without a word. Whoever changes history below it
-- notes the device-hours that are touched, in the same transaction:
--
--   1. enter_history() first: it holds, shared and until the end of the transaction, a lock that is named after log_from,
--      and returns log_from.
--   2. mark_stale() or mark_stale_assignment() for hours below it, in any order with the writes themselves.
--
-- Whoever moves log_from notes the hours in between as stale, commits, and waits for those who hold the lock named after
-- the old log_from; until then, an hour may still get readings of which nothing is noted.

CREATE TABLE rollup_state (
    is_only           bool PRIMARY KEY DEFAULT true CHECK (is_only),
    log_from          timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00', -- a whole UTC hour
    previous_log_from timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00',
    layout            int8 NOT NULL DEFAULT 0 -- counts changes of the set of partitions
);

INSERT INTO rollup_state DEFAULT VALUES;

-- Append-only but for the one who refreshes, who deletes just the rows that were there when the work began; so a note
-- that is written meanwhile stays.
CREATE TABLE stale_hours (
    stale_id   int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_key int4 NOT NULL, -- whose rollup is out of date; 0: everybody's
    hour       timestamptz NOT NULL, -- the start of the UTC hour
    after_key  int4 NOT NULL DEFAULT 0, -- of everybody's: devices up to this key are done
    noted_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX stale_hours_device ON stale_hours (device_key, hour);
CREATE INDEX stale_hours_hour ON stale_hours (hour);

-- What a vehicle's readings of an hour (hours = 1) or a UTC day (hours = 24) that belong to one meter (meter_key 0: to
-- none) add up to, paired by EXCLUSIVE_MINUTES. Energies in kWh, SoC in percent, temperature in degrees Celsius.
CREATE TABLE vehicle_rollups (
    vehicle_key                int4 NOT NULL,
    hours                      int2 NOT NULL CHECK (hours IN (1, 24)),
    start                      timestamptz NOT NULL,
    meter_key                  int4 NOT NULL,
    readings                   int4 NOT NULL,
    readings_kept              int4 NOT NULL,
    minutes_kept               int4 NOT NULL,
    minutes_shared             int4 NOT NULL,
    minutes_without_meter_data int4 NOT NULL,
    kwh_consumed_ac            float8 NOT NULL, -- of kept minutes
    kwh_delivered_dc           float8 NOT NULL, -- of kept minutes
    sum_soc                    float8 NOT NULL, -- of kept readings
    sum_battery_temp           float8 NOT NULL, -- of kept readings
    all_kwh_delivered_dc       float8 NOT NULL, -- of all readings
    all_sum_soc                float8 NOT NULL, -- of all readings
    all_sum_battery_temp       float8 NOT NULL, -- of all readings
    PRIMARY KEY (vehicle_key, hours, start, meter_key) INCLUDE (
        readings, readings_kept, minutes_kept, minutes_shared, minutes_without_meter_data, kwh_consumed_ac,
        kwh_delivered_dc, sum_soc, sum_battery_temp, all_kwh_delivered_dc, all_sum_soc, all_sum_battery_temp)
) WITH (autovacuum_vacuum_insert_threshold = 20000, autovacuum_vacuum_insert_scale_factor = 0.005,
        autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02);

-- For questions about the whole fleet, which read some hours of all vehicles.
CREATE INDEX vehicle_rollups_start ON vehicle_rollups (hours, start, vehicle_key, meter_key) INCLUDE (
    readings, readings_kept, minutes_kept, minutes_shared, minutes_without_meter_data, kwh_consumed_ac,
    kwh_delivered_dc, sum_soc, sum_battery_temp, all_kwh_delivered_dc);

-- For the hours of one meter.
CREATE INDEX vehicle_rollups_meter ON vehicle_rollups (meter_key, hours, start, vehicle_key) INCLUDE (
    minutes_kept, kwh_consumed_ac, kwh_delivered_dc);

-- What a meter's readings of an hour or a UTC day add up to.
CREATE TABLE meter_rollups (
    meter_key       int4 NOT NULL,
    hours           int2 NOT NULL CHECK (hours IN (1, 24)),
    start           timestamptz NOT NULL,
    readings        int4 NOT NULL,
    minutes         int4 NOT NULL, -- in which it has readings
    kwh_consumed_ac float8 NOT NULL,
    PRIMARY KEY (meter_key, hours, start) INCLUDE (readings, minutes, kwh_consumed_ac)
) WITH (autovacuum_vacuum_insert_threshold = 20000, autovacuum_vacuum_insert_scale_factor = 0.005,
        autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02);

CREATE INDEX meter_rollups_start ON meter_rollups (hours, start, meter_key) INCLUDE (
    readings, minutes, kwh_consumed_ac);

-- Enters the present transaction as one that writes history, and returns log_from, which then stays in force for it.
-- In READ COMMITTED every statement in here sees what was committed before it.
CREATE FUNCTION enter_history() RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    seen    timestamptz;
    entered timestamptz;
BEGIN
    LOOP
        SELECT log_from INTO STRICT seen FROM rollup_state;
        EXIT WHEN seen = entered;
        PERFORM pg_advisory_xact_lock_shared(
            hashtext('wattstream.history'), (extract(epoch FROM seen) / 3600)::int4);
        entered := seen;
    END LOOP;
    RETURN entered;
END $$;

-- Notes which rollups are out of date after readings were stored, given by hour: a vehicle's, with the meter that they
-- name or 0, or a meter's own, with vehicle_key 0. What a vehicle does on a meter concerns all vehicles that are on it in
-- that hour. Hours in which a thousand devices or more are concerned are noted as a whole.
--
-- The lock is shared among those who store readings, and kept from those who change assignments: else a vehicle's first
-- reading of an hour and its assignment to a meter, or two assignments, neither of which sees the other, would leave out
-- those who shared the meter with it. In PL/pgSQL, because parameters of functions in SQL are not for distributed tables,
-- and because each statement sees what was committed before it, so what was waited for.
CREATE FUNCTION mark_stale(vehicle_keys int4[], meter_keys int4[], hours timestamptz[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('wattstream.assignments'));
    WITH touched AS (
        SELECT DISTINCT vehicle_key, meter_key, hour
        FROM unnest(vehicle_keys, meter_keys, hours) AS t (vehicle_key, meter_key, hour)
    ), crowded AS (
        SELECT hour FROM touched GROUP BY hour HAVING count(*) >= 1000
    ), few AS (
        SELECT * FROM touched WHERE hour NOT IN (SELECT hour FROM crowded)
    ), met AS (
        SELECT meter_key, hour FROM few WHERE meter_key > 0
        UNION
        SELECT a.meter_key, f.hour
        FROM few AS f
        JOIN meter_assignments AS a ON a.vehicle_key = f.vehicle_key
            AND a.valid_from < f.hour + interval '1 hour' AND coalesce(a.valid_until > f.hour, true)
    ), concerned AS (
        SELECT CASE WHEN vehicle_key > 0 THEN vehicle_key ELSE meter_key END AS device_key, hour FROM few
        UNION
        SELECT n.vehicle_key, m.hour FROM met AS m JOIN meter_vehicle_hours AS n USING (meter_key, hour)
        UNION
        SELECT a.vehicle_key, m.hour
        FROM met AS m
        JOIN meter_assignments AS a ON a.meter_key = m.meter_key
            AND a.valid_from < m.hour + interval '1 hour' AND coalesce(a.valid_until > m.hour, true)
    )
    INSERT INTO stale_hours (device_key, hour)
    SELECT 0, hour FROM crowded
    UNION
    SELECT CASE WHEN count(*) OVER (PARTITION BY hour) >= 1000 THEN 0 ELSE device_key END, hour FROM concerned;
END $$;

-- Notes which rollups are out of date after a meter was, or was no longer, assigned to a vehicle for [since, until); null
-- is no end. Concerned are the hours in which the vehicle has readings: those rolled up, and those about to be. To be
-- called after the change, so that the other vehicles on the meter are found by it.
CREATE FUNCTION mark_stale_assignment(
    of_vehicle int4, of_meter int4, since timestamptz, until timestamptz, entered timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('wattstream.assignments'));
    PERFORM mark_stale(array_agg(of_vehicle), array_agg(of_meter), array_agg(hour))
    FROM (
        SELECT start AS hour FROM vehicle_rollups WHERE vehicle_key = of_vehicle AND hours = 1
            AND start > since - interval '1 hour' AND start < least(until, entered)
        UNION
        SELECT hour FROM stale_hours WHERE device_key IN (0, of_vehicle)
            AND hour > since - interval '1 hour' AND hour < least(until, entered)
    ) AS concerned HAVING count(*) > 0;
END $$;

-- As before, and counts that partitions were made.
CREATE OR REPLACE FUNCTION ensure_partitions(days date[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent    text;
    day       date;
    partition text;
    made      bool := false;
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
            made := true;
        END LOOP;
    END LOOP;
    IF made THEN
        UPDATE rollup_state SET layout = layout + 1;
    END IF;
END $$;
