-- Staged meter readings into history, but for those that are there already; answers which were new: key and
-- microseconds since 1970 UTC. The rows are to be counted, not the command's tag, which counts rows offered on a
-- distributed database. Carried by the primary key of meter_readings.
INSERT INTO meter_readings (meter_key, recorded_at, kwh_consumed_ac, voltage)
SELECT meter_key, recorded_at, kwh_consumed_ac, voltage FROM staged_meter_readings ORDER BY meter_key, recorded_at
ON CONFLICT (meter_key, recorded_at) DO NOTHING
RETURNING meter_key, (extract(epoch FROM recorded_at) * 1000000)::int8
