-- What has to be known to plan an answer about the fleet: as in state.sql, but stale are the hours that are so for
-- everybody, and split those that are so for some device. One row. stale_hours is looked up by stale_hours_hour.
SELECT log_from, layout,
    (
        SELECT array_agg(DISTINCT hour)
        FROM stale_hours
        WHERE device_key = 0 AND hour >= %(start)s::timestamptz AND hour < %(end)s::timestamptz
    ) AS stale_hours,
    (
        SELECT array_agg(DISTINCT hour)
        FROM stale_hours
        WHERE device_key > 0 AND hour >= %(start)s::timestamptz AND hour < %(end)s::timestamptz
    ) AS split_hours,
    CASE WHEN layout <> %(layout)s::int8 THEN {days} END AS days
FROM rollup_state
