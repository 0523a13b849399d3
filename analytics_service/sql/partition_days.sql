-- log_from, and the UTC days that have partitions of both histories. One row.
SELECT log_from, {days} AS days
FROM rollup_state
