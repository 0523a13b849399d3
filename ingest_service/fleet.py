"""The registry of the fleet: devices, and which meter a vehicle charges behind."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from ingest_service import staleness
from ingest_service.readings import KINDS, METER, VEHICLE, Kind
from ingest_service.registry import Registry
from ingest_service.staleness import Connection
from wattstream.errors import ConflictError, NotFoundError, bad_field
from wattstream.postgres import Pool
from wattstream.resources import read


class Device(NamedTuple):
    """A registered device."""

    kind_number: int
    device_id: str
    registered_at: datetime


class Assignment(NamedTuple):
    """A meter assigned to a vehicle for the half-open time [valid_from, valid_until)."""

    assignment_id: int
    vehicle_id: str
    meter_id: str
    valid_from: datetime
    valid_until: datetime | None


class Fleet:
    """Reads and writes the registry. Each method is one transaction."""

    def __init__(self, pool: Pool, registry: Registry) -> None:
        self._pool = pool
        self._registry = registry

    async def register(self, devices: Iterable[tuple[Kind, str]]) -> tuple[int, int]:
        """Register devices; return how many are new, and how many had been there."""
        wanted: dict[Kind, set[str]] = defaultdict(set)
        for kind, device_id in devices:
            wanted[kind].add(device_id)
        new = sum([await self._registry.register(self._pool, kind, wanted[kind]) for kind in KINDS])
        return new, sum(map(len, wanted.values())) - new

    async def devices(self, kind_number: int, after: tuple[int, str], most: int) -> list[Device]:
        """Return the devices that follow `after` by (kind, id), at most `most`; of one kind unless it is 0."""
        parameters = {"kind": kind_number, "after_kind": after[0], "after_id": after[1], "most": most}
        return [Device(*row) for row in await self._rows("list_devices.sql", parameters)]

    async def assignments(
        self, *, vehicle_id: str, meter_id: str, valid_at: datetime | None, after: tuple[str, int], most: int
    ) -> list[tuple[Assignment, int]]:
        """Return the assignments that follow `after` by (vehicle id, start in microseconds), each with its start so.

        An empty id, or None for a time, is no filter.
        """
        parameters = {
            "vehicle_id": vehicle_id,
            "meter_id": meter_id,
            "valid_at": valid_at,
            "after_id": after[0],
            "after_us": after[1],
            "most": most,
        }
        return [(Assignment(*row[:5]), row[5]) for row in await self._rows("list_assignments.sql", parameters)]

    async def assign(
        self, vehicle_id: str, meter_id: str, valid_from: datetime, valid_until: datetime | None
    ) -> Assignment:
        """Assign a meter to a vehicle; the same assignment again is answered with the one that is there.

        Raises:
            NotFoundError: the vehicle or the meter is not registered.
            ConflictError: it overlaps another assignment of the vehicle.
        """
        vehicle_key, meter_key = await self._key(VEHICLE, vehicle_id), await self._key(METER, meter_id)
        parameters = {
            "vehicle_key": vehicle_key,
            "meter_key": meter_key,
            "valid_from": valid_from,
            "valid_until": valid_until,
            "but": 0,
        }
        async with self._pool.connection() as connection, connection.transaction():
            entered = await staleness.enter(connection)
            await connection.execute(_sql("lock_vehicle.sql"), parameters)
            other = await _overlapping(connection, vehicle_id, parameters)
            if other is not None:
                if other[2:] == (meter_id, valid_from, valid_until):
                    return other
                raise _conflict(other)
            row = await (await connection.execute(_sql("insert_assignment.sql"), parameters)).fetchone()
            await staleness.note_assignment(connection, vehicle_key, meter_key, valid_from, valid_until, entered)
        return Assignment(row[0] if row else 0, vehicle_id, meter_id, valid_from, valid_until)

    async def end(self, assignment_id: int, valid_until: datetime) -> Assignment:
        """End an assignment at a time.

        Raises:
            NotFoundError: there is no such assignment.
            InvalidRequestError: the time is not after the assignment's start.
            ConflictError: it would overlap another assignment of the vehicle.
        """
        async with self._pool.connection() as connection, connection.transaction():
            entered = await staleness.enter(connection)
            assignment, vehicle_key, meter_key = await _held(connection, assignment_id)
            if valid_until <= assignment.valid_from:
                raise bad_field("valid_until", f"must be later than valid_from, {assignment.valid_from.isoformat()}")
            parameters = {
                "assignment_id": assignment_id,
                "vehicle_key": vehicle_key,
                "valid_from": assignment.valid_from,
                "valid_until": valid_until,
                "but": assignment_id,
            }
            other = await _overlapping(connection, assignment.vehicle_id, parameters)
            if other is not None:
                raise _conflict(other)
            await connection.execute(_sql("end_assignment.sql"), parameters)
            since, until = _between(assignment.valid_until, valid_until)
            if since != until:
                await staleness.note_assignment(connection, vehicle_key, meter_key, since, until, entered)
        return assignment._replace(valid_until=valid_until)

    async def _key(self, kind: Kind, device_id: str) -> int:
        await self._registry.find(self._pool, kind, [device_id])
        key = self._registry.key(kind, device_id)
        if key is None:
            raise NotFoundError(kind.name, device_id, f"{kind.name} {device_id} is not registered")
        return key

    async def _rows(self, name: str, parameters: dict[str, Any]) -> list[Any]:
        async with self._pool.connection() as connection:
            return await (await connection.execute(_sql(name), parameters)).fetchall()


def _between(old: datetime | None, new: datetime) -> tuple[datetime, datetime | None]:
    """Return the time between two ends of an assignment, [since, until); None is no end."""
    return (new, None) if old is None else (min(old, new), max(old, new))


def _sql(name: str) -> str:
    return read("ingest_service.sql", name)


async def _held(connection: Connection, assignment_id: int) -> tuple[Assignment, int, int]:
    """Hold the vehicle of an assignment; return the assignment, and the keys of its vehicle and meter."""
    parameters = {"assignment_id": assignment_id}
    await connection.execute(_sql("lock_vehicle_assigned.sql"), parameters)
    row = await (await connection.execute(_sql("get_assignment.sql"), parameters)).fetchone()
    if row is None:
        raise NotFoundError("assignment", str(assignment_id), f"there is no assignment {assignment_id}")
    return Assignment(*row[:5]), row[5], row[6]


async def _overlapping(connection: Connection, vehicle_id: str, parameters: dict[str, Any]) -> Assignment | None:
    row = await (await connection.execute(_sql("overlapping_assignment.sql"), parameters)).fetchone()
    return Assignment(row[0], vehicle_id, *row[1:]) if row else None


def _conflict(other: Assignment) -> ConflictError:
    until = f"until {other.valid_until.isoformat()}" if other.valid_until else "until further notice"
    message = (
        f"overlaps assignment {other.assignment_id}: vehicle {other.vehicle_id} has meter {other.meter_id} "
        f"from {other.valid_from.isoformat()} {until}"
    )
    return ConflictError("assignment", str(other.assignment_id), message)
