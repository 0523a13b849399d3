-- New vehicle readings, straight in: percent, kWh DC, degrees Celsius. Fails as a whole when one of them is there
-- already.
COPY vehicle_readings (vehicle_key, meter_key, recorded_at, soc, kwh_delivered_dc, battery_temp)
FROM STDIN (FORMAT binary)
