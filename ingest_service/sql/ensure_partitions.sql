-- Makes the partitions of the given UTC days, where they are missing.
SELECT ensure_partitions(%(days)s::date[])
