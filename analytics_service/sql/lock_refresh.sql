-- Whether this transaction is the one that refreshes rollups, until it ends.
SELECT pg_try_advisory_xact_lock(hashtext('wattstream.refresh')) AS is_ours
