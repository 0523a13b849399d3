-- Staged vehicle readings into history, but for those that are there already; answers which were new: key and
-- microseconds since 1970 UTC. The rows are to be counted, not the command's tag, which counts rows offered on a
-- distributed database. Carried by the primary key of vehicle_readings.
INSERT INTO vehicle_readings (vehicle_key, meter_key, recorded_at, soc, kwh_delivered_dc, battery_temp)
SELECT vehicle_key, meter_key, recorded_at, soc, kwh_delivered_dc, battery_temp
FROM staged_vehicle_readings ORDER BY vehicle_key, recorded_at
ON CONFLICT (vehicle_key, recorded_at) DO NOTHING
RETURNING vehicle_key, (extract(epoch FROM recorded_at) * 1000000)::int8
