-- The pairing of EXCLUSIVE_MINUTES, as a part of other statements: from wanted (vehicle_key, hour, since, until) and met
-- (meter_key, hour, since, until), which are vehicles and meters and the stretches [since, until) of UTC hours to look
-- at, to paired, a row for each vehicle, meter and minute: of the wanted vehicles, of all that may share a meter with
-- them, and with vehicle_key null of meters alone. meter_key 0 is no meter. Energies in kWh, SoC in percent, temperature
-- in degrees Celsius.
--
-- {vehicle_readings} and {meter_readings} become the partitions of the days, by name: the plan can be prepared and looks at
-- no other partition, however many there are. Each (device, hour) is an index-only scan of a partition's primary key; ANY
-- keeps the planner from hashing the hours and reading whole partitions beside them. Who may be where comes from
-- meter_vehicle_hours, by meter_vehicle_hours_vehicle and the primary key, and from meter_assignments, by
-- meter_assignments_vehicle and _meter. From there on nothing is a nested loop, whatever the planner expects: readings are
-- grouped, then joined by a full join, which is hashed or merged.
present AS MATERIALIZED (
    SELECT vehicle_key, hour, since, until
    FROM wanted
    UNION
    SELECT n.vehicle_key, m.hour, m.since, m.until
    FROM met AS m
    JOIN meter_vehicle_hours AS n ON n.meter_key = ANY (ARRAY[m.meter_key]) AND n.hour = m.hour
    UNION
    SELECT a.vehicle_key, m.hour, m.since, m.until
    FROM met AS m
    JOIN meter_assignments AS a ON a.meter_key = ANY (ARRAY[m.meter_key])
        AND a.valid_from < m.until AND coalesce(a.valid_until > m.since, true)
), placed AS MATERIALIZED (
    -- With the meter assigned all along, or else whether one is at some time.
    SELECT p.vehicle_key, p.since, p.until,
        min(a.meter_key) FILTER (WHERE a.valid_from <= p.since AND coalesce(a.valid_until >= p.until, true))
            AS assigned_meter_key,
        count(a.meter_key) > 0 AS is_assigned
    FROM present AS p
    LEFT JOIN meter_assignments AS a ON a.vehicle_key = ANY (ARRAY[p.vehicle_key])
        AND a.valid_from < p.until AND coalesce(a.valid_until > p.since, true)
    GROUP BY p.vehicle_key, p.since, p.until
), pairs AS MATERIALIZED (
    SELECT r.vehicle_key,
        coalesce(
            r.meter_key, p.assigned_meter_key,
            CASE WHEN p.is_assigned THEN (
                SELECT a.meter_key
                FROM meter_assignments AS a
                WHERE a.vehicle_key = r.vehicle_key
                    AND a.valid_from <= r.recorded_at AND coalesce(a.valid_until > r.recorded_at, true)
            ) END,
            0) AS meter_key,
        date_bin('1 minute', r.recorded_at, timestamptz '1970-01-01 00:00+00') AS minute,
        count(*)::int4 AS readings, sum(r.kwh_delivered_dc) AS kwh_dc,
        sum(r.soc) AS soc, sum(r.battery_temp) AS battery_temp
    FROM placed AS p
    JOIN {vehicle_readings} AS r
        ON r.vehicle_key = ANY (ARRAY[p.vehicle_key]) AND r.recorded_at >= p.since AND r.recorded_at < p.until
    GROUP BY 1, 2, 3
), minutes AS (
    SELECT meter_key, minute, count(vehicle_key) AS vehicles, count(kwh_ac) AS meter_readings, sum(kwh_ac) AS kwh_ac
    FROM (
        SELECT meter_key, minute, vehicle_key, NULL::float8 AS kwh_ac
        FROM pairs
        UNION ALL
        SELECT r.meter_key, date_bin('1 minute', r.recorded_at, timestamptz '1970-01-01 00:00+00'),
            NULL, r.kwh_consumed_ac
        FROM met AS m
        JOIN {meter_readings} AS r
            ON r.meter_key = ANY (ARRAY[m.meter_key]) AND r.recorded_at >= m.since AND r.recorded_at < m.until
    ) AS both_sides
    GROUP BY meter_key, minute
), paired AS (
    SELECT vehicle_key, meter_key, minute, vehicles, readings, meter_readings, kwh_ac, kwh_dc, soc, battery_temp,
        meter_key > 0 AND vehicles = 1 AND meter_readings > 0 AS is_kept,
        meter_key > 0 AND vehicles > 1 AS is_shared,
        meter_key > 0 AND vehicles = 1 AND meter_readings = 0 AS is_without_meter_data
    FROM pairs
    FULL JOIN minutes USING (meter_key, minute)
)
