-- A page of alerts, the newest first, as they are: those before an id, about a subject (1 a vehicle, 2 a meter, 3 a vehicle
-- at a meter), in a state, about a vehicle or meter; null or empty is any. With times, only those whose drop ended after
-- the one, which an open one has not, and began before the other. Energies kWh, times UTC. By the primary key, or
-- efficiency_alerts_subject and efficiency_alerts_meter; ids by the indexes of devices.
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
WHERE a.alert_id < %(before)s
    AND (%(subject)s = 0
        OR %(subject)s = CASE WHEN a.meter_key = 0 THEN 1 WHEN a.vehicle_key = 0 THEN 2 ELSE 3 END)
    AND (%(state)s = 0 OR a.state = %(state)s)
    AND (%(vehicle_id)s = '' OR a.vehicle_key = (
        SELECT device_key FROM devices WHERE kind = 2 AND device_id = %(vehicle_id)s))
    AND (%(meter_id)s = '' OR a.meter_key = (
        SELECT device_key FROM devices WHERE kind = 1 AND device_id = %(meter_id)s))
    AND NOT (%(unacknowledged_only)s AND a.acknowledged_at IS NOT NULL)
    AND (%(since)s::timestamptz IS NULL OR a.until > %(since)s OR a.state = 1)
    AND (%(until)s::timestamptz IS NULL OR a.since < %(until)s)
ORDER BY a.alert_id DESC
LIMIT %(most)s
