-- Meter readings into staging: kWh AC, volts.
COPY staged_meter_readings (meter_key, recorded_at, kwh_consumed_ac, voltage) FROM STDIN (FORMAT binary)
