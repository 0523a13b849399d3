-- Each vehicle's newest reading in a stretch of days: key, microseconds since 1970 UTC, the key of the meter it names or
-- 0, percent, kWh DC, degrees Celsius. Carried by the primary key of vehicle_readings, one probe a vehicle.
SELECT vehicle_key, (extract(epoch FROM recorded_at) * 1000000)::int8, coalesce(meter_key, 0),
       soc, kwh_delivered_dc, battery_temp
FROM unnest(%(keys)s::int4[]) AS wanted (key)
CROSS JOIN LATERAL (
    SELECT * FROM vehicle_readings
    WHERE vehicle_key = wanted.key AND recorded_at >= %(start)s AND recorded_at < %(end)s
    ORDER BY recorded_at DESC LIMIT 1
) AS newest
