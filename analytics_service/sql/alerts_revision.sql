-- The highest revision of all alerts, 0 without any. The end of the unique index on revision.
SELECT coalesce(max(revision), 0) FROM efficiency_alerts
