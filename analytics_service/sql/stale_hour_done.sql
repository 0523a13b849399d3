-- Notes up to which device an hour is done for everybody; null: for all. By the primary key of stale_hours.
WITH done AS (
    DELETE FROM stale_hours WHERE stale_id = %(stale_id)s::int8 AND %(after_key)s::int4 IS NULL
)
UPDATE stale_hours SET after_key = %(after_key)s::int4
WHERE stale_id = %(stale_id)s::int8 AND %(after_key)s::int4 IS NOT NULL
