-- Each meter's newest reading in a stretch of days: key, microseconds since 1970 UTC, no meter, kWh AC, volts.
-- Carried by the primary key of meter_readings, one probe a meter.
SELECT meter_key, (extract(epoch FROM recorded_at) * 1000000)::int8, 0, kwh_consumed_ac, voltage
FROM unnest(%(keys)s::int4[]) AS wanted (key)
CROSS JOIN LATERAL (
    SELECT * FROM meter_readings
    WHERE meter_key = wanted.key AND recorded_at >= %(start)s AND recorded_at < %(end)s
    ORDER BY recorded_at DESC LIMIT 1
) AS newest
