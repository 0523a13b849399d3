-- Where vehicle readings wait of which some may be there already; of the session, emptied by each commit.
CREATE TEMPORARY TABLE IF NOT EXISTS staged_vehicle_readings (
    vehicle_key int4, meter_key int4, recorded_at timestamptz, soc float8, kwh_delivered_dc float8, battery_temp float8
) ON COMMIT DELETE ROWS
