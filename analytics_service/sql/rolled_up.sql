-- The hour before which the newest hours are rolled up for everybody. stale_hours is looked up by stale_hours_device.
SELECT coalesce(
    (
        SELECT min(hour)
        FROM stale_hours
        WHERE device_key = 0 AND hour >= log_from - interval '2 hours' AND hour < log_from
    ), log_from
) AS until
FROM rollup_state
