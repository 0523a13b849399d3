-- What has to be known to plan an answer: from when on hours are not rolled up, which hours of the window are stale for
-- one of the asked vehicles, and the UTC days that have partitions of both histories, unless the layout is still
-- %(layout)s. One row. stale_hours is looked up by stale_hours_device.
SELECT log_from, layout,
    (
        SELECT array_agg(DISTINCT hour)
        FROM (
            SELECT hour FROM stale_hours WHERE device_key = 0
            UNION ALL
            SELECT hour
            FROM devices
            JOIN stale_hours USING (device_key)
            WHERE kind = 2 AND device_id = ANY (%(vehicle_ids)s::text[])
        ) AS stale
        WHERE hour >= %(start)s::timestamptz AND hour < %(end)s::timestamptz
    ) AS stale_hours,
    CASE WHEN layout <> %(layout)s::int8 THEN {days} END AS days
FROM rollup_state
