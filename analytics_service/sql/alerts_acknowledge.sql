-- Acknowledges an alert and returns it as it then is; energies kWh, times UTC. By the primary key.
UPDATE efficiency_alerts AS a
SET acknowledged_at = now(), acknowledged_by = %(acknowledged_by)s, note = %(note)s, changed_at = now(),
    revision = nextval('efficiency_alert_revisions')
WHERE a.alert_id = %(alert_id)s
RETURNING
    a.alert_id,
    coalesce((SELECT v.device_id FROM devices AS v WHERE v.device_key = a.vehicle_key), '') AS vehicle_id,
    coalesce((SELECT m.device_id FROM devices AS m WHERE m.device_key = a.meter_key), '') AS meter_id,
    a.state,
    a.since,
    a.until,
    a.minutes_kept,
    a.kwh_consumed_ac,
    a.kwh_delivered_dc,
    a.lowest_efficiency,
    a.threshold,
    a.opened_at,
    a.changed_at,
    a.closed_at,
    a.acknowledged_at,
    a.acknowledged_by,
    a.note,
    a.revision
