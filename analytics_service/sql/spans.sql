-- Which stretches of history a question about the asked vehicles has to look at, as arrays for the second statement.
--
-- One row; its arrays are null where there is nothing:
--   asked_keys, asked_ids               the asked vehicles that exist
--   vehicle_keys, assigned_meter_keys,  whose readings to look at, in which half-open spans of the window, and the
--   vehicle_since, vehicle_until        meter assigned in the span (null: none): the asked vehicles over the whole
--                                       window, each instant once; other vehicles where they may share their meters
--   meter_keys, meter_since,            which meters' readings to look at, in which half-open spans of the window
--   meter_until
--   used_meter_keys, used_meter_ids     the same meters, each once
-- The spans are where readings may be, not where they are. Without %(exclusive)s neither the meters that readings name
-- nor other vehicles are looked for.
--
-- Times UTC. Looks only at what is small beside the readings: devices by (kind, device_id), meter_assignments by
-- meter_assignments_vehicle and _meter, meter_vehicle_hours by meter_vehicle_hours_vehicle and the primary key.
WITH asked AS MATERIALIZED (
    SELECT device_key AS vehicle_key, device_id
    FROM devices
    WHERE kind = 2 AND device_id = ANY (%(vehicle_ids)s::text[])
), assigned AS MATERIALIZED (
    SELECT vehicle_key, meter_key,
        tstzrange(valid_from, valid_until) * tstzrange(%(start)s::timestamptz, %(end)s::timestamptz) AS during
    FROM asked
    JOIN meter_assignments USING (vehicle_key)
    WHERE valid_from < %(end)s::timestamptz AND (valid_until IS NULL OR valid_until > %(start)s::timestamptz)
), used AS MATERIALIZED (
    -- In whole minutes: who and what else is in the minute in which an assignment begins or ends counts too.
    SELECT meter_key,
        tstzrange(
            date_bin('1 minute', lower(during), timestamptz '1970-01-01 00:00+00'),
            date_bin('1 minute', upper(during), timestamptz '1970-01-01 00:00+00') + interval '1 minute')
        * tstzrange(%(start)s::timestamptz, %(end)s::timestamptz) AS during
    FROM assigned
    UNION ALL
    SELECT meter_key,
        tstzrange(hour, hour + interval '1 hour') * tstzrange(%(start)s::timestamptz, %(end)s::timestamptz)
    FROM asked
    JOIN meter_vehicle_hours USING (vehicle_key)
    WHERE %(exclusive)s::bool
        AND hour > %(start)s::timestamptz - interval '1 hour' AND hour < %(end)s::timestamptz
), others AS MATERIALIZED (
    SELECT vehicle_key, NULL::int4 AS meter_key, tstzrange(hour, hour + interval '1 hour') * during AS during
    FROM used
    JOIN meter_vehicle_hours USING (meter_key)
    WHERE %(exclusive)s::bool AND hour > lower(during) - interval '1 hour' AND hour < upper(during)
    UNION ALL
    SELECT vehicle_key, meter_key, tstzrange(valid_from, valid_until) * during
    FROM used
    JOIN meter_assignments USING (meter_key)
    WHERE %(exclusive)s::bool AND valid_from < upper(during) AND (valid_until IS NULL OR valid_until > lower(during))
), vehicle_spans AS (
    SELECT vehicle_key, meter_key, during
    FROM assigned
    UNION ALL
    SELECT vehicle_key, NULL,
        unnest(
            tstzmultirange(tstzrange(%(start)s::timestamptz, %(end)s::timestamptz))
            - coalesce(range_agg(during), '{}'::tstzmultirange))
    FROM asked
    LEFT JOIN assigned USING (vehicle_key)
    GROUP BY vehicle_key
    UNION ALL
    SELECT vehicle_key, meter_key, unnest(range_agg(during))
    FROM others
    WHERE vehicle_key NOT IN (SELECT vehicle_key FROM asked)
    GROUP BY vehicle_key, meter_key
), meter_spans AS (
    SELECT meter_key, unnest(range_agg(during)) AS during
    FROM used
    GROUP BY meter_key
)
SELECT a.*, v.*, m.*, u.*
FROM (
    SELECT array_agg(vehicle_key) AS asked_keys, array_agg(device_id) AS asked_ids
    FROM asked
) AS a, (
    SELECT array_agg(vehicle_key) AS vehicle_keys, array_agg(meter_key) AS assigned_meter_keys,
        array_agg(lower(during)) AS vehicle_since, array_agg(upper(during)) AS vehicle_until
    FROM vehicle_spans
) AS v, (
    SELECT array_agg(meter_key) AS meter_keys,
        array_agg(lower(during)) AS meter_since, array_agg(upper(during)) AS meter_until
    FROM meter_spans
) AS m, (
    SELECT array_agg(device_key) AS used_meter_keys, array_agg(device_id) AS used_meter_ids
    FROM devices
    WHERE device_key IN (SELECT meter_key FROM used)
) AS u
