-- Which vehicles used a meter when, and what became of its energy: a row per stay with the same totals in each, at least
-- one, its vehicle_id null if there is no stay. A stay is a run of minutes in which a vehicle has readings that belong to
-- the meter, with pauses below 15 minutes. The newest %(most)s stays, the newest first. Energies in kWh, SoC in percent.
--
-- The meter's own minutes are those of pairing.sql, which see.
WITH wanted AS MATERIALIZED (
    SELECT NULL::int4 AS vehicle_key, NULL::timestamptz AS hour, NULL::timestamptz AS since, NULL::timestamptz AS until
    WHERE false
), met AS MATERIALIZED (
    SELECT device_key AS meter_key, hour, since, until
    FROM devices
    CROSS JOIN unnest(%(raw_hours)s::timestamptz[], %(raw_since)s::timestamptz[], %(raw_until)s::timestamptz[])
        AS raw (hour, since, until)
    WHERE kind = 1 AND device_id = %(meter_id)s
), {pairing}, used AS MATERIALIZED (
    SELECT *
    FROM paired
    WHERE meter_key IN (SELECT device_key FROM devices WHERE kind = 1 AND device_id = %(meter_id)s)
), by_minute AS (
    SELECT minute, max(vehicles) AS vehicles, max(meter_readings) AS meter_readings, max(kwh_ac) AS kwh_ac
    FROM used
    GROUP BY minute
), totals AS (
    SELECT coalesce(sum(kwh_ac), 0) AS kwh_consumed_ac,
        coalesce(sum(kwh_ac) FILTER (WHERE vehicles = 1), 0) AS kwh_exclusive,
        coalesce(sum(kwh_ac) FILTER (WHERE vehicles > 1), 0) AS kwh_shared,
        coalesce(sum(kwh_ac) FILTER (WHERE vehicles = 0), 0) AS kwh_unexplained,
        count(*) FILTER (WHERE meter_readings > 0) AS minutes,
        count(*) FILTER (WHERE meter_readings = 0) AS minutes_without_meter_data
    FROM by_minute
), steps AS (
    SELECT *, minute - lag(minute) OVER (PARTITION BY vehicle_key ORDER BY minute) > interval '15 minutes' AS is_new
    FROM used
    WHERE vehicle_key IS NOT NULL
), numbered AS (
    SELECT *, count(*) FILTER (WHERE is_new) OVER (PARTITION BY vehicle_key ORDER BY minute) AS stay
    FROM steps
), stays AS (
    SELECT vehicle_key, min(minute) AS start, max(minute) + interval '1 minute' AS until, count(*) AS stay_minutes,
        count(*) FILTER (WHERE is_shared) AS minutes_shared,
        coalesce(sum(kwh_ac) FILTER (WHERE is_kept), 0) AS stay_kwh_consumed_ac,
        coalesce(sum(kwh_dc) FILTER (WHERE is_kept), 0) AS kwh_delivered_dc,
        sum(kwh_dc) AS kwh_reported_dc, sum(soc) / sum(readings) AS mean_soc
    FROM numbered
    GROUP BY vehicle_key, stay
    ORDER BY start DESC, vehicle_key DESC
    LIMIT %(most)s::int8
)
SELECT EXISTS (SELECT FROM devices WHERE kind = 1 AND device_id = %(meter_id)s) AS is_registered,
    totals.*, stays.*, device_id AS vehicle_id
FROM totals
LEFT JOIN (stays JOIN devices ON device_key = vehicle_key) ON true
ORDER BY start DESC, device_id DESC
