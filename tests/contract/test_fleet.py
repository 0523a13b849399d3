"""FleetService's registry of devices, over the wire and on a real database."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ingest_service.config import IngestConfig
from ingest_service.service import lifespan
from wattstream import server
from wattstream.api.ingest.v1 import fleet_pb2 as pb
from wattstream.api.ingest.v1 import fleet_pb2_grpc
from wattstream.api.telemetry.v1.telemetry_pb2 import DEVICE_KIND_METER, DEVICE_KIND_VEHICLE

METER, VEHICLE = DEVICE_KIND_METER, DEVICE_KIND_VEHICLE
Stub = "fleet_pb2_grpc.FleetServiceAsyncStub"


@pytest.fixture
async def fleet(database: str) -> AsyncIterator[Stub]:
    config = IngestConfig(listen="127.0.0.1:0", postgres_dsn=database, state_address="127.0.0.1:1")
    async with server.serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield fleet_pb2_grpc.FleetServiceStub(channel)


async def register(fleet: Stub, *devices: tuple[int, str]) -> tuple[int, int]:
    request = pb.RegisterDevicesRequest(devices=[pb.Device(kind=kind, device_id=name) for kind, name in devices])
    answer = await fleet.RegisterDevices(request)
    return answer.registered, answer.existing


async def bad_fields(call: object) -> list[str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = error_details_pb2.BadRequest()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(caught.value).details)
    return [violation.field for violation in found.field_violations]


async def pages(fleet: Stub, **request: object) -> list[list[tuple[int, str]]]:
    found, token = [], ""
    while not found or token:
        page = await fleet.ListDevices(pb.ListDevicesRequest(page_token=token, **request))
        found.append([(device.kind, device.device_id) for device in page.devices])
        token = page.next_page_token
    return found


async def test_devices_are_registered_once_and_counted(fleet: Stub) -> None:
    assert await register(fleet, (METER, "M1"), (VEHICLE, "V1"), (METER, "M1")) == (2, 0)
    assert await register(fleet, (METER, "M1"), (METER, "M2"), (VEHICLE, "M1")) == (2, 1)
    assert await register(fleet, (METER, "M1"), (METER, "M2"), (VEHICLE, "M1")) == (0, 3)


async def test_ids_are_told_apart_by_case(fleet: Stub) -> None:
    assert await register(fleet, (METER, "m1"), (METER, "M1")) == (2, 0)


async def test_the_same_devices_registered_at_once_are_registered_once(fleet: Stub) -> None:
    devices = [(kind, f"D{i}") for i in range(500) for kind in (METER, VEHICLE)]
    answers = await asyncio.gather(*(register(fleet, *devices[i % 7 :], *devices[: i % 7]) for i in range(12)))
    assert sum(registered for registered, _ in answers) == 1000
    assert all(registered + existing == 1000 for registered, existing in answers)


async def test_as_many_devices_as_allowed_are_registered_and_not_one_more(fleet: Stub) -> None:
    many = [(METER, f"M{i}") for i in range(10_000)]
    assert await register(fleet, *many) == (10_000, 0)
    assert await bad_fields(register(fleet, *many, (METER, "M10000"))) == ["devices"]
    assert await bad_fields(register(fleet)) == ["devices"]


@pytest.mark.parametrize(
    ("kind", "name", "field"),
    [
        (0, "M1", "devices[1].kind"),
        (7, "M1", "devices[1].kind"),
        (METER, "", "devices[1].device_id"),
        (METER, "M" * 65, "devices[1].device_id"),
        (METER, "a\x00", "devices[1].device_id"),
        (VEHICLE, "x'; DROP TABLE devices; --", "devices[1].device_id"),
    ],
)
async def test_a_device_that_cannot_be_names_its_field_and_none_is_registered(
    fleet: Stub, kind: int, name: str, field: str
) -> None:
    assert await bad_fields(register(fleet, (METER, "M0"), (kind, name))) == [field]
    assert await pages(fleet) == [[]]


async def test_devices_are_listed_by_kind_and_id_page_by_page(fleet: Stub) -> None:
    names = ["a", "B", "b", "_", "Z9", "Z10", "-", "/x"]
    await register(fleet, *((kind, name) for kind in (VEHICLE, METER) for name in names))
    expected = [(kind, name) for kind in (METER, VEHICLE) for name in sorted(names)]
    for size in (1, 3, 8, 16, 17):
        found = await pages(fleet, page_size=size)
        assert [device for page in found for device in page] == expected
        assert all(len(page) == size for page in found[:-1])
    assert (await pages(fleet, kind=VEHICLE, page_size=5))[0] == expected[8:13]
    assert [d for page in await pages(fleet, kind=METER, page_size=5) for d in page] == expected[:8]


async def test_a_listed_device_tells_when_it_was_registered(fleet: Stub) -> None:
    await register(fleet, (METER, "M1"))
    [device] = (await fleet.ListDevices(pb.ListDevicesRequest())).devices
    await register(fleet, (METER, "M1"))
    assert device.registered_at.seconds > 0
    assert (await fleet.ListDevices(pb.ListDevicesRequest())).devices == [device]


async def test_questions_that_cannot_be_answered_name_their_field(fleet: Stub) -> None:
    ask = fleet.ListDevices
    assert await bad_fields(ask(pb.ListDevicesRequest(page_size=-1))) == ["page_size"]
    assert await bad_fields(ask(pb.ListDevicesRequest(page_size=10_001))) == ["page_size"]
    assert await bad_fields(ask(pb.ListDevicesRequest(kind=3))) == ["kind"]
    assert await bad_fields(ask(pb.ListDevicesRequest(page_token="nonsense"))) == ["page_token"]


async def test_a_token_of_another_list_is_refused(fleet: Stub) -> None:
    await register(fleet, (METER, "M1"), (METER, "M2"), (VEHICLE, "V1"))
    token = (await fleet.ListDevices(pb.ListDevicesRequest(page_size=1))).next_page_token
    assert token
    assert await bad_fields(fleet.ListAssignments(pb.ListAssignmentsRequest(page_token=token))) == ["page_token"]
