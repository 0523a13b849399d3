"""Rollups as they should be: computed from all readings at once, by SQL that shares nothing with the service's."""

from typing import Any

import psycopg
import pytest

_VEHICLES = """
WITH owned AS (
    SELECT r.*, coalesce(r.meter_key, a.meter_key, 0) AS owner, date_trunc('minute', r.recorded_at) AS minute
    FROM vehicle_readings AS r
    LEFT JOIN meter_assignments AS a ON r.meter_key IS NULL AND a.vehicle_key = r.vehicle_key
        AND a.valid_from <= r.recorded_at AND (a.valid_until IS NULL OR a.valid_until > r.recorded_at)
), pairs AS (
    SELECT vehicle_key, owner, minute, count(*) AS readings, sum(kwh_delivered_dc) AS dc, sum(soc) AS soc,
        sum(battery_temp) AS temp, count(*) OVER (PARTITION BY owner, minute) AS vehicles
    FROM owned
    GROUP BY vehicle_key, owner, minute
), metered AS (
    SELECT meter_key AS owner, date_trunc('minute', recorded_at) AS minute, sum(kwh_consumed_ac) AS ac
    FROM meter_readings
    GROUP BY 1, 2
), judged AS (
    SELECT *, owner > 0 AND vehicles = 1 AND ac IS NOT NULL AS kept
    FROM pairs
    LEFT JOIN metered USING (owner, minute)
)
SELECT vehicle_key, hours, start, owner, sum(readings)::int8, coalesce(sum(readings) FILTER (WHERE kept), 0)::int8,
    count(*) FILTER (WHERE kept), count(*) FILTER (WHERE owner > 0 AND vehicles > 1),
    count(*) FILTER (WHERE owner > 0 AND vehicles = 1 AND ac IS NULL),
    coalesce(sum(ac) FILTER (WHERE kept), 0), coalesce(sum(dc) FILTER (WHERE kept), 0),
    coalesce(sum(soc) FILTER (WHERE kept), 0), coalesce(sum(temp) FILTER (WHERE kept), 0), sum(dc), sum(soc), sum(temp)
FROM judged, rollup_state, (VALUES (1, 'hour'), (24, 'day')) AS length (hours, name),
    LATERAL (SELECT date_trunc(name, minute) AS start) AS began
WHERE start < date_trunc(name, log_from)
GROUP BY 1, 2, 3, 4
"""
_METERS = """
SELECT meter_key, hours, start, count(*), count(DISTINCT date_trunc('minute', recorded_at)), sum(kwh_consumed_ac)
FROM meter_readings, rollup_state, (VALUES (1, 'hour'), (24, 'day')) AS length (hours, name),
    LATERAL (SELECT date_trunc(name, recorded_at) AS start) AS began
WHERE start < date_trunc(name, log_from)
GROUP BY 1, 2, 3
"""
Rows = dict[tuple[Any, ...], tuple[Any, ...]]


async def hold_rollups_against_readings(dsn: str) -> None:
    """Check that the rollups are those of the readings, all of them and no others."""
    async with await psycopg.AsyncConnection.connect(dsn, options="-c timezone=UTC") as connection:
        for kept, computed, width in (("vehicle_rollups", _VEHICLES, 4), ("meter_rollups", _METERS, 3)):
            found = await _rows(connection, f"TABLE {kept}", width)
            expected = await _rows(connection, computed, width)
            assert found.keys() == expected.keys()
            for key, values in expected.items():
                assert found[key] == pytest.approx(values, rel=1e-9, abs=1e-9), key


async def _rows(connection: psycopg.AsyncConnection[Any], query: str, width: int) -> Rows:
    cursor = await connection.execute(query.encode())
    return {row[:width]: row[width:] for row in await cursor.fetchall()}
