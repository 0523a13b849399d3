-- Alerts whose last change has a revision after one and up to another, as they are now, in order of revision; in one
-- state, or whatever it is where that is null. Energies kWh, times UTC; an id is empty where the alert is not about such a
-- device. Found by the unique index on revision, open ones by efficiency_alerts_open, ids by devices_pkey.
SELECT
    a.alert_id,
    coalesce(v.device_id, '') AS vehicle_id,
    coalesce(m.device_id, '') AS meter_id,
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
FROM efficiency_alerts AS a
LEFT JOIN devices AS v ON v.device_key = a.vehicle_key
LEFT JOIN devices AS m ON m.device_key = a.meter_key
WHERE a.revision > %(after)s
    AND a.revision <= %(until)s
    AND (%(state)s::int2 IS NULL OR a.state = %(state)s)
ORDER BY a.revision
LIMIT %(most)s
