-- Whether this transaction is the one that looks for drops; one at a time does.
SELECT pg_try_advisory_xact_lock(hashtext('wattstream.efficiency_due'))
