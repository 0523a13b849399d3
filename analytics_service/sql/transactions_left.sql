-- How many of the transactions %(writers)s are still in progress. No table.
SELECT count(DISTINCT virtualtransaction) AS count FROM pg_locks WHERE virtualtransaction = ANY (%(writers)s::text[])
