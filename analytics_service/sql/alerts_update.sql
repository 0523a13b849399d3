-- Changes alerts; energies kWh. An alert that stays closed has closed now if it turns out that an hour was needed to close
-- it that is later than its closing. By the primary key.
UPDATE efficiency_alerts AS a
SET state = n.state, since = n.since, until = n.until, minutes_kept = n.minutes, kwh_consumed_ac = n.ac,
    kwh_delivered_dc = n.dc, lowest_efficiency = n.lowest, changed_at = now(),
    closed_at = CASE
        WHEN n.state = 1 THEN NULL
        WHEN n.state = a.state AND a.closed_at + interval '1 hour' >= n.closed_by THEN a.closed_at
        ELSE now()
    END,
    revision = nextval('efficiency_alert_revisions')
FROM unnest(
    %(alert_ids)s::int8[], %(states)s::int2[], %(since)s::timestamptz[], %(until)s::timestamptz[], %(minutes)s::int4[],
    %(ac)s::float8[], %(dc)s::float8[], %(lowest)s::float8[], %(closed_by)s::timestamptz[]
) AS n (alert_id, state, since, until, minutes, ac, dc, lowest, closed_by)
WHERE a.alert_id = n.alert_id
