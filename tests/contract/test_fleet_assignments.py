"""FleetService's assignments of meters to vehicles, over the wire and on a real database."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_service.config import IngestConfig
from ingest_service.service import lifespan
from wattstream import server
from wattstream.api.ingest.v1 import fleet_pb2 as pb
from wattstream.api.ingest.v1 import fleet_pb2_grpc
from wattstream.api.telemetry.v1.telemetry_pb2 import DEVICE_KIND_METER, DEVICE_KIND_VEHICLE

FEBRUARY_S = 1_769_904_000
Stub = "fleet_pb2_grpc.FleetServiceAsyncStub"
fresh = itertools.count()


@asynccontextmanager
async def serving(dsn: str) -> AsyncIterator[Stub]:
    config = IngestConfig(listen="127.0.0.1:0", postgres_dsn=dsn, state_address="127.0.0.1:1")
    async with server.serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield fleet_pb2_grpc.FleetServiceStub(channel)


@pytest.fixture
async def fleet(database: str) -> AsyncIterator[Stub]:
    """Yield a client of a service that knows the vehicles V1 to V3 and the meters M1 to M3."""
    async with serving(database) as stub:
        await register(stub, *((kind, f"{letter}{i}") for kind, letter in ((1, "M"), (2, "V")) for i in (1, 2, 3)))
        yield stub


async def register(fleet: Stub, *devices: tuple[int, str]) -> None:
    request = pb.RegisterDevicesRequest(devices=[pb.Device(kind=kind, device_id=name) for kind, name in devices])
    await fleet.RegisterDevices(request)


def at(hours: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(round((FEBRUARY_S + hours * 3600) * 1_000_000))
    return stamp


async def assign(fleet: Stub, vehicle: str, meter: str, start: float, until: float | None = None) -> pb.MeterAssignment:
    request = pb.AssignMeterRequest(vehicle_id=vehicle, meter_id=meter, valid_from=at(start))
    if until is not None:
        request.valid_until.CopyFrom(at(until))
    return (await fleet.AssignMeter(request)).assignment


async def end(fleet: Stub, assignment_id: int, until: float) -> pb.MeterAssignment:
    return (
        await fleet.EndAssignment(pb.EndAssignmentRequest(assignment_id=assignment_id, valid_until=at(until)))
    ).assignment


async def failure(call: object, code: grpc.StatusCode, detail: object) -> object:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code() is code, caught.value
    assert any(packed.Unpack(detail) for packed in rpc_status.from_call(caught.value).details)
    return detail


async def bad_fields(call: object) -> list[str]:
    found = await failure(call, grpc.StatusCode.INVALID_ARGUMENT, error_details_pb2.BadRequest())
    return [violation.field for violation in found.field_violations]  # type: ignore[attr-defined]


async def conflict(call: object) -> tuple[str, str]:
    found = await failure(call, grpc.StatusCode.FAILED_PRECONDITION, error_details_pb2.ResourceInfo())
    return found.resource_name, found.description  # type: ignore[attr-defined]


async def listed(fleet: Stub, **request: object) -> list[pb.MeterAssignment]:
    found, token = [], None
    while token != "":
        page = await fleet.ListAssignments(pb.ListAssignmentsRequest(page_token=token or "", **request))
        found += page.assignments
        token = page.next_page_token
    return found


async def test_an_assignment_is_made_listed_ended_and_moved(fleet: Stub) -> None:
    made = await assign(fleet, "V1", "M1", 1)
    assert (made.vehicle_id, made.meter_id, made.valid_from) == ("V1", "M1", at(1))
    assert not made.HasField("valid_until")
    assert await listed(fleet) == [made]
    ended = await end(fleet, made.assignment_id, 5)
    assert (ended.assignment_id, ended.valid_until) == (made.assignment_id, at(5))
    assert await end(fleet, made.assignment_id, 5) == ended
    assert (await end(fleet, made.assignment_id, 9)).valid_until == at(9)
    assert (await end(fleet, made.assignment_id, 2)).valid_until == at(2)
    assert [assignment.valid_until for assignment in await listed(fleet)] == [at(2)]


async def test_the_same_assignment_made_again_is_the_one_that_is_there(fleet: Stub) -> None:
    for until in (4, None):
        first = await assign(fleet, "V1", "M1", 1 if until else 4, until)
        assert await assign(fleet, "V1", "M1", 1 if until else 4, until) == first
    assert len(await listed(fleet)) == 2


async def test_an_overlap_is_refused_and_names_the_other(fleet: Stub) -> None:
    other = await assign(fleet, "V1", "M1", 2, 4)
    for start, until in ((1, 3), (3, 5), (2.5, 3), (1, 9), (1, None), (2, 4)):
        name, words = await conflict(assign(fleet, "V1", "M2", start, until))
        assert name == str(other.assignment_id)
        assert words == (
            f"overlaps assignment {name}: vehicle V1 has meter M1 "
            "from 2026-02-01T02:00:00+00:00 until 2026-02-01T04:00:00+00:00"
        )
    await assign(fleet, "V1", "M2", 1, 2)
    await assign(fleet, "V1", "M2", 4)
    await assign(fleet, "V2", "M1", 1)  # many vehicles may have one meter
    later = await listed(fleet, vehicle_id="V1")
    assert [(a.valid_from, a.meter_id) for a in later] == [(at(1), "M2"), (at(2), "M1"), (at(4), "M2")]
    assert "until further notice" in (await conflict(assign(fleet, "V1", "M1", 9)))[1]


async def test_an_end_that_would_overlap_the_next_is_refused(fleet: Stub) -> None:
    first, second = await assign(fleet, "V1", "M1", 1, 2), await assign(fleet, "V1", "M2", 3, 4)
    assert (await conflict(end(fleet, first.assignment_id, 3.5)))[0] == str(second.assignment_id)
    assert (await end(fleet, first.assignment_id, 3)).valid_until == at(3)


async def test_what_is_not_there_is_not_found(fleet: Stub) -> None:
    for call, kind, name in (
        (assign(fleet, "V9", "M1", 1), "vehicle", "V9"),
        (assign(fleet, "V1", "M9", 1), "meter", "M9"),
        (assign(fleet, "M1", "M2", 1), "vehicle", "M1"),
        (end(fleet, 12345, 1), "assignment", "12345"),
        (end(fleet, 2**63 - 1, 1), "assignment", str(2**63 - 1)),
    ):
        found = await failure(call, grpc.StatusCode.NOT_FOUND, error_details_pb2.ResourceInfo())
        assert (found.resource_type, found.resource_name) == (kind, name)  # type: ignore[attr-defined]


async def test_bad_requests_name_their_field(fleet: Stub) -> None:
    made = await assign(fleet, "V1", "M1", 1, 2)
    broken = {"seconds": 0, "nanos": -1}, {"seconds": 2**60}, {"seconds": -(2**60)}
    for stamp in broken:
        bad = Timestamp(**stamp)
        ask = pb.AssignMeterRequest(vehicle_id="V1", meter_id="M1", valid_from=bad)
        assert await bad_fields(fleet.AssignMeter(ask)) == ["valid_from"]
        ask = pb.AssignMeterRequest(vehicle_id="V1", meter_id="M1", valid_from=at(1), valid_until=bad)
        assert await bad_fields(fleet.AssignMeter(ask)) == ["valid_until"]
        assert await bad_fields(
            fleet.EndAssignment(pb.EndAssignmentRequest(assignment_id=made.assignment_id, valid_until=bad))
        ) == ["valid_until"]
        assert await bad_fields(fleet.ListAssignments(pb.ListAssignmentsRequest(valid_at=bad))) == ["valid_at"]
    assert await bad_fields(assign(fleet, "", "M1", 1)) == ["vehicle_id"]
    assert await bad_fields(assign(fleet, "V1", "M\n", 1)) == ["meter_id"]
    assert await bad_fields(assign(fleet, "V1", "M1", 2, 2)) == ["valid_until"]
    assert await bad_fields(end(fleet, made.assignment_id, 1)) == ["valid_until"]
    assert await bad_fields(end(fleet, 0, 1)) == ["assignment_id"]
    assert await bad_fields(fleet.EndAssignment(pb.EndAssignmentRequest(assignment_id=1))) == ["valid_until"]
    assert await bad_fields(fleet.AssignMeter(pb.AssignMeterRequest(vehicle_id="V1", meter_id="M1"))) == ["valid_from"]
    assert await bad_fields(listed(fleet, vehicle_id="?")) == ["vehicle_id"]
    assert await bad_fields(listed(fleet, meter_id="?")) == ["meter_id"]
    assert await bad_fields(listed(fleet, page_size=-1)) == ["page_size"]


async def test_the_earliest_and_latest_times_are_kept(fleet: Stub) -> None:
    first, last = Timestamp(seconds=-62_135_596_800), Timestamp(seconds=253_402_300_799, nanos=999_999_000)
    ask = pb.AssignMeterRequest(vehicle_id="V1", meter_id="M1", valid_from=first, valid_until=last)
    made = (await fleet.AssignMeter(ask)).assignment
    assert (made.valid_from, made.valid_until) == (first, last)
    assert await listed(fleet, page_size=1) == [made]


async def test_lists_are_filtered_and_paged(fleet: Stub) -> None:
    made = [
        await assign(fleet, vehicle, meter, start, start + 1)
        for vehicle in ("V1", "V2", "V3")
        for start, meter in ((-500_000, "M1"), (1, "M2"), (2, "M1"), (3.25, "M3"))
    ]
    for size in (1, 2, 5, 12, 13):
        assert await listed(fleet, page_size=size) == made
    assert await listed(fleet, vehicle_id="V2", page_size=3) == made[4:8]
    assert await listed(fleet, meter_id="M1", page_size=1) == [a for a in made if a.meter_id == "M1"]
    assert await listed(fleet, valid_at=at(2)) == [a for a in made if a.valid_from == at(2)]
    assert await listed(fleet, vehicle_id="V1", meter_id="M2", valid_at=at(1)) == [made[1]]
    assert await listed(fleet, vehicle_id="V9") == []
    token = (await fleet.ListAssignments(pb.ListAssignmentsRequest(page_size=1))).next_page_token
    assert await bad_fields(fleet.ListDevices(pb.ListDevicesRequest(page_token=token))) == ["page_token"]


async def test_of_many_overlapping_assignments_at_once_exactly_one_is_made(fleet: Stub) -> None:
    calls = (assign(fleet, "V1", f"M{1 + i % 3}", i, i + 100) for i in range(20))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {error.code() for error in refused} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert len(refused) == 19
    assert await listed(fleet) == [answer for answer in answers if isinstance(answer, pb.MeterAssignment)]


HOURS = st.integers(0, 12)
SPANS = st.tuples(HOURS, st.none() | HOURS).filter(lambda span: span[1] is None or span[1] > span[0])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ab"), SPANS, st.sampled_from(["M1", "M2"])), max_size=12))
async def test_an_assignment_is_accepted_if_and_only_if_it_overlaps_no_other(
    database: str, attempts: list[tuple[str, tuple[int, int | None], str]]
) -> None:
    run = next(fresh)
    names = {letter: f"{letter}{run}" for letter in "ab"}
    accepted: list[tuple[str, tuple[int, int | None], str]] = []
    async with serving(database) as fleet:
        devices = [(DEVICE_KIND_VEHICLE, name) for name in names.values()]
        await register(fleet, *devices, (DEVICE_KIND_METER, "M1"), (DEVICE_KIND_METER, "M2"))
        for letter, span, meter in attempts:
            overlaps = any(
                other == letter and span[0] < (s[1] or 99) and s[0] < (span[1] or 99) for other, s, _ in accepted
            )
            if overlaps and (letter, span, meter) not in accepted:
                await conflict(assign(fleet, names[letter], meter, *span))
            else:
                await assign(fleet, names[letter], meter, *span)
                accepted += [] if overlaps else [(letter, span, meter)]
        for letter, name in names.items():
            mine = sorted((s for other, s, _ in accepted if other == letter), key=lambda s: s[0])
            assert [a.valid_from for a in await listed(fleet, vehicle_id=name)] == [at(s[0]) for s in mine]
