-- What has to be known to plan an answer by ASSIGNED_METER: as in state.sql, but stale for one of the asked vehicles or of
-- their assigned meters, and the keys of the asked vehicles and the assignments that overlap the window, as arrays. One
-- row. By stale_hours_device and meter_assignments_vehicle.
WITH asked AS MATERIALIZED (
    SELECT device_key AS vehicle_key
    FROM devices
    WHERE kind = 2 AND device_id = ANY (%(vehicle_ids)s::text[])
), assigned AS MATERIALIZED (
    SELECT a.vehicle_key, a.meter_key,
        greatest(a.valid_from, %(start)s::timestamptz) AS since, least(a.valid_until, %(end)s::timestamptz) AS until
    FROM asked
    JOIN meter_assignments AS a ON a.vehicle_key = ANY (ARRAY[asked.vehicle_key])
    WHERE a.valid_from < %(end)s::timestamptz AND coalesce(a.valid_until > %(start)s::timestamptz, true)
)
SELECT log_from, layout,
    (
        SELECT array_agg(DISTINCT hour)
        FROM (
            SELECT hour FROM stale_hours WHERE device_key = 0
            UNION ALL
            SELECT hour FROM asked JOIN stale_hours ON device_key = ANY (ARRAY[vehicle_key])
            UNION ALL
            SELECT hour FROM assigned JOIN stale_hours ON device_key = ANY (ARRAY[meter_key])
        ) AS stale
        WHERE hour > %(start)s::timestamptz - interval '1 hour' AND hour < %(end)s::timestamptz
    ) AS stale_hours,
    CASE WHEN layout <> %(layout)s::int8 THEN {days} END AS days,
    v.*, a.*
FROM rollup_state, (
    SELECT array_agg(vehicle_key) AS asked_keys FROM asked
) AS v, (
    SELECT array_agg(vehicle_key) AS vehicle_keys, array_agg(meter_key) AS meter_keys,
        array_agg(since) AS since, array_agg(until) AS until
    FROM assigned
) AS a
