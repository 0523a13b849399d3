-- A page of the vehicles for which something is kept, in the order of a value and then of the vehicle's key: by efficiency
-- (1), and by energy lost (2), AC (3) and DC energy (4), the most first; with %(sign)s = -1 the other way round. Vehicles
-- without an efficiency come last. Only what was charged at %(meter_keys)s counts, if that is not null. Energies in kWh, SoC
-- in percent, temperature in degrees Celsius. See fleet.sql.
WITH {fleet}, sums AS (
    SELECT vehicle_key,
        sum(readings)::int8 AS readings,
        coalesce(sum(readings) FILTER (WHERE meter_key = 0), 0)::int8 AS readings_without_meter,
        sum(readings_kept)::int8 AS readings_kept, sum(minutes_kept)::int8 AS minutes_kept,
        sum(minutes_shared)::int8 AS minutes_shared,
        sum(minutes_without_meter_data)::int8 AS minutes_without_meter_data,
        sum(kwh_consumed_ac) AS kwh_consumed_ac, sum(kwh_delivered_dc) AS kwh_delivered_dc,
        sum(sum_soc) AS sum_soc, sum(sum_battery_temp) AS sum_battery_temp
    FROM parts
    WHERE %(meter_keys)s::int4[] IS NULL OR meter_key = ANY (%(meter_keys)s::int4[])
    GROUP BY vehicle_key
), measured AS (
    SELECT sums.*,
        -- Not out of the range of numbers, whatever a meter sends.
        CASE
            WHEN kwh_delivered_dc > 1e-100 AND kwh_consumed_ac > 0
                THEN kwh_delivered_dc / greatest(kwh_consumed_ac, 1e-100)
            WHEN kwh_consumed_ac > 0 THEN 0
        END AS efficiency
    FROM sums
    WHERE minutes_kept > 0 AND kwh_consumed_ac >= %(min_kwh)s::float8
), ranked AS (
    -- Rounded, as the next page is found by the value: sums of the same, in another order, differ in their last digits.
    SELECT measured.*,
        coalesce(
            %(sign)s::float8 * CASE %(by)s::int4
                WHEN 1 THEN round(efficiency * 1e9) / 1e9
                WHEN 2 THEN round((kwh_delivered_dc - kwh_consumed_ac) * 1e6) / 1e6
                WHEN 3 THEN round(-kwh_consumed_ac * 1e6) / 1e6
                WHEN 4 THEN round(-kwh_delivered_dc * 1e6) / 1e6
            END,
            'infinity') AS value
    FROM measured
    WHERE %(below)s::float8 IS NULL OR efficiency < %(below)s::float8
), page AS (
    SELECT *
    FROM ranked
    WHERE (value, vehicle_key) > (%(after_value)s::float8, %(after_key)s::int4)
    ORDER BY value, vehicle_key
    LIMIT %(most)s::int8
), page_meters AS (
    SELECT vehicle_key, array_agg(DISTINCT device_id ORDER BY device_id) AS meter_ids
    FROM (
        SELECT r.vehicle_key, r.meter_key
        FROM page
        CROSS JOIN unnest(%(piece_hours)s::int2[], %(piece_since)s::timestamptz[], %(piece_until)s::timestamptz[])
            AS p (hours, since, until)
        JOIN vehicle_rollups AS r ON r.vehicle_key = ANY (ARRAY[page.vehicle_key])
            AND r.hours = ANY (ARRAY[p.hours]) AND r.start >= p.since AND r.start < p.until
        WHERE r.minutes_kept > 0 AND (r.vehicle_key, r.start) NOT IN (SELECT device_key, hour FROM stale)
        UNION
        SELECT vehicle_key, meter_key FROM paired WHERE is_kept AND vehicle_key IN (SELECT vehicle_key FROM page)
    ) AS used
    JOIN devices ON device_key = meter_key
    WHERE %(meter_keys)s::int4[] IS NULL OR meter_key = ANY (%(meter_keys)s::int4[])
    GROUP BY vehicle_key
)
SELECT page.*, device_id AS vehicle_id, meter_ids
FROM page
JOIN devices ON device_key = page.vehicle_key
LEFT JOIN page_meters ON page_meters.vehicle_key = page.vehicle_key
ORDER BY value, page.vehicle_key
