-- Notes, once, where a new webhook begins: it has been told nothing (first row), and is told of alerts that were last
-- changed up to now only if they are open (second row). Carried by webhook_progress_pkey.
INSERT INTO webhook_progress (webhook, revision)
SELECT %(webhook)s, 0
UNION ALL
SELECT %(webhook)s || ' first', coalesce(max(revision), 0) FROM efficiency_alerts
ON CONFLICT (webhook) DO NOTHING
