-- Which of the subjects have, in the hours that have changed, one that is below the threshold and ends a sliding window that
-- is below it too, with enough kept minutes; of subjects whose rules have windows of the same length. Energies kWh.
--
-- An hour counts that the window holds by the clock, whatever gaps there are: hence RANGE. By index-only scans of the
-- primary key of vehicle_rollups, and for meters of vehicle_rollups_meter.
WITH subjects AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(vehicle_keys)s::int4[], %(meter_keys)s::int4[], %(hours)s::timestamptz[],
        %(thresholds)s::float8[], %(least_minutes)s::int4[]
    ) AS s (vehicle_key, meter_key, hour, threshold, least_minutes)
), series AS (
    SELECT s.vehicle_key, s.meter_key, r.start, sum(r.minutes_kept) AS minutes,
        sum(r.kwh_consumed_ac) AS ac, sum(r.kwh_delivered_dc) AS dc
    FROM subjects AS s
    JOIN vehicle_rollups AS r ON r.vehicle_key = ANY (ARRAY[s.vehicle_key]) AND r.hours = 1
        AND r.start > s.hour - %(window)s::interval AND (s.meter_key = 0 OR r.meter_key = s.meter_key)
    WHERE s.vehicle_key > 0 AND r.minutes_kept > 0
    GROUP BY s.vehicle_key, s.meter_key, r.start
    UNION ALL
    SELECT s.vehicle_key, s.meter_key, r.start, sum(r.minutes_kept), sum(r.kwh_consumed_ac), sum(r.kwh_delivered_dc)
    FROM subjects AS s
    JOIN vehicle_rollups AS r ON r.meter_key = ANY (ARRAY[s.meter_key]) AND r.hours = 1
        AND r.start > s.hour - %(window)s::interval
    WHERE s.vehicle_key = 0 AND r.minutes_kept > 0
    GROUP BY s.vehicle_key, s.meter_key, r.start
), sliding AS (
    SELECT vehicle_key, meter_key, start, ac, dc,
        sum(minutes) OVER hours AS window_minutes, sum(ac) OVER hours AS window_ac, sum(dc) OVER hours AS window_dc
    FROM series
    WINDOW hours AS (
        PARTITION BY vehicle_key, meter_key ORDER BY start
        RANGE BETWEEN %(window)s::interval - interval '1 hour' PRECEDING AND CURRENT ROW)
)
SELECT DISTINCT vehicle_key, meter_key
FROM sliding
JOIN subjects USING (vehicle_key, meter_key)
WHERE start >= hour AND dc < threshold * ac AND window_dc < threshold * window_ac AND window_minutes >= least_minutes
