-- What the kept minutes of subjects add up to, hour by hour, each from a time on: minutes, AC and DC energy in kWh; by
-- subject, then hour. Summed in a fixed order, so that the same rollups always give the same figures. By index-only scans
-- of the primary key of vehicle_rollups, and for meters of vehicle_rollups_meter.
WITH subjects AS MATERIALIZED (
    SELECT *
    FROM unnest(%(vehicle_keys)s::int4[], %(meter_keys)s::int4[], %(since)s::timestamptz[])
        AS s (vehicle_key, meter_key, since)
)
SELECT s.vehicle_key, s.meter_key, r.start, sum(r.minutes_kept)::int8 AS minutes,
    sum(r.kwh_consumed_ac ORDER BY r.meter_key) AS ac, sum(r.kwh_delivered_dc ORDER BY r.meter_key) AS dc
FROM subjects AS s
JOIN vehicle_rollups AS r ON r.vehicle_key = ANY (ARRAY[s.vehicle_key]) AND r.hours = 1
    AND r.start >= s.since AND (s.meter_key = 0 OR r.meter_key = s.meter_key)
WHERE s.vehicle_key > 0 AND r.minutes_kept > 0
GROUP BY s.vehicle_key, s.meter_key, r.start
UNION ALL
SELECT s.vehicle_key, s.meter_key, r.start, sum(r.minutes_kept)::int8,
    sum(r.kwh_consumed_ac ORDER BY r.vehicle_key), sum(r.kwh_delivered_dc ORDER BY r.vehicle_key)
FROM subjects AS s
JOIN vehicle_rollups AS r ON r.meter_key = ANY (ARRAY[s.meter_key]) AND r.hours = 1 AND r.start >= s.since
WHERE s.vehicle_key = 0 AND r.minutes_kept > 0
GROUP BY s.vehicle_key, s.meter_key, r.start
ORDER BY vehicle_key, meter_key, start
