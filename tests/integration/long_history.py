"""A database with a month of history, for plans: rollups on all days, readings on those at the ends of windows."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import psycopg
from psycopg.conninfo import make_conninfo

FIRST = date(2026, 1, 10)
DAYS = [FIRST + timedelta(days=n) for n in range(34)]
LOG_FROM = datetime(2026, 2, 12, 14, tzinfo=UTC)  # on the last day
END = LOG_FROM + timedelta(minutes=37)
FLEET = 40

# Of four vehicles two name their own meter always, one names the next one's for an hour a day, and one names none, with
# an assignment of its own meter all the time.
FILL = """
INSERT INTO devices (kind, device_id) SELECT 1, 'M' || k FROM generate_series(1, {fleet}) AS k ORDER BY k;
INSERT INTO devices (kind, device_id) SELECT 2, 'V' || k FROM generate_series(1, {fleet}) AS k ORDER BY k;
INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from)
SELECT {fleet} + k, k, '{start}' FROM generate_series(4, {fleet}, 4) AS k;
INSERT INTO meter_vehicle_hours
SELECT k, hour, {fleet} + k
FROM generate_series(timestamptz '{start}', '{end}', '1 hour') AS hour, generate_series(1, {fleet}) AS k
WHERE k % 4 > 0;
INSERT INTO meter_vehicle_hours
SELECT k + 1, hour, {fleet} + k
FROM generate_series(timestamptz '{start}' + interval '13 hours', '{end}', '1 day') AS hour,
    generate_series(1, {fleet}, 4) AS k;
INSERT INTO meter_readings
SELECT k, t, 0.5, 230
FROM unnest('{days}'::timestamptz[]) AS day, generate_series(day, day + interval '1439 minutes', '1 minute') AS t,
    generate_series(1, {fleet}) AS k;
INSERT INTO vehicle_readings
SELECT {fleet} + k,
    CASE WHEN k % 4 = 0 THEN NULL WHEN k % 4 = 1 AND extract(hour FROM t) = 13 THEN k + 1 ELSE k END, t, 50, 0.4, 30
FROM unnest('{days}'::timestamptz[]) AS day, generate_series(day, day + interval '1439 minutes', '1 minute') AS t,
    generate_series(1, {fleet}) AS k;
INSERT INTO vehicle_rollups
SELECT {fleet} + k, hours, start, k, 60 * hours, 60 * hours, 60 * hours, 0, 0, 30, 24, 3000, 1800, 24, 3000, 1800
FROM (VALUES (1, '1 hour'::interval), (24, '1 day')) AS of (hours, step),
    generate_series(timestamptz '{start}', '{log_from}'::timestamptz - step, step) AS start,
    generate_series(1, {fleet}) AS k;
INSERT INTO meter_rollups SELECT meter_key, hours, start, readings, minutes_kept, 30 FROM vehicle_rollups;
UPDATE rollup_state SET log_from = '{log_from}', previous_log_from = '{log_from}'
"""


@contextmanager
def month(server_dsn: str, template: str, *, is_vacuumed: bool = True) -> Iterator[str]:
    """Yield the DSN of such a database, vacuumed and analyzed or as it is; it is gone afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    dsn = make_conninfo(server_dsn, dbname=name)
    raw = [DAYS[0], *DAYS[-3:]]
    fill = FILL.format(
        fleet=FLEET, start=FIRST, end=END, days=f"{{{','.join(map(str, raw))}}}", log_from=LOG_FROM.isoformat()
    )
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
                connection.execute("SELECT ensure_partitions(%s::date[])", (DAYS,))
                for statement in fill.split(";"):
                    connection.execute(statement.encode())
                if is_vacuumed:
                    connection.execute("VACUUM ANALYZE")
            yield dsn
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
