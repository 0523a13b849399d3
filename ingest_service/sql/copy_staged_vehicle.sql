-- Vehicle readings into staging: percent, kWh DC, degrees Celsius.
COPY staged_vehicle_readings (vehicle_key, meter_key, recorded_at, soc, kwh_delivered_dc, battery_temp)
FROM STDIN (FORMAT binary)
