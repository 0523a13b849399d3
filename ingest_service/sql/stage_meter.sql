-- Where meter readings wait of which some may be there already; of the session, emptied by each commit.
CREATE TEMPORARY TABLE IF NOT EXISTS staged_meter_readings (
    meter_key int4, recorded_at timestamptz, kwh_consumed_ac float8, voltage float8
) ON COMMIT DELETE ROWS
