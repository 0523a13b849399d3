-- Whether this session is now the one that delivers to a webhook, until it ends. No table.
SELECT pg_try_advisory_lock(hashtext('wattstream.webhook'), hashtext(%(webhook)s))
