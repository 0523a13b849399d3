-- Waits until this transaction is the only one that changes alerts, so that revisions become visible in their order.
SELECT pg_advisory_xact_lock(hashtext('wattstream.efficiency_alerts'))
