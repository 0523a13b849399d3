-- All alerts about some subjects; energies kWh. By efficiency_alerts_subject.
SELECT a.vehicle_key, a.meter_key, a.alert_id, a.state, a.since, a.until, a.minutes_kept,
    a.kwh_consumed_ac, a.kwh_delivered_dc, a.lowest_efficiency, a.closed_at
FROM unnest(%(vehicle_keys)s::int4[], %(meter_keys)s::int4[]) AS s (vehicle_key, meter_key)
JOIN efficiency_alerts AS a ON a.vehicle_key = ANY (ARRAY[s.vehicle_key]) AND a.meter_key = ANY (ARRAY[s.meter_key])
