-- Stores new alerts; energies kWh.
INSERT INTO efficiency_alerts (
    vehicle_key, meter_key, state, since, until, minutes_kept, kwh_consumed_ac, kwh_delivered_dc, lowest_efficiency,
    threshold, closed_at, revision)
SELECT vehicle_key, meter_key, state, since, until, minutes, ac, dc, lowest, threshold,
    CASE WHEN state > 1 THEN now() END, nextval('efficiency_alert_revisions')
FROM unnest(
    %(vehicle_keys)s::int4[], %(meter_keys)s::int4[], %(states)s::int2[], %(since)s::timestamptz[],
    %(until)s::timestamptz[], %(minutes)s::int4[], %(ac)s::float8[], %(dc)s::float8[], %(lowest)s::float8[],
    %(thresholds)s::float8[]
) AS n (vehicle_key, meter_key, state, since, until, minutes, ac, dc, lowest, threshold)
ORDER BY since, vehicle_key, meter_key
