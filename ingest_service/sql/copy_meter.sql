-- New meter readings, straight in: kWh AC, volts. Fails as a whole when one of them is there already.
COPY meter_readings (meter_key, recorded_at, kwh_consumed_ac, voltage) FROM STDIN (FORMAT binary)
