"""StateService: translates between the contract and the store."""

# The RPCs are named, and described, by the contract.

import time
from collections.abc import AsyncIterator
from typing import Any

from state_service import translate
from state_service.merge import is_online, newest
from state_service.states import Kind, State, id_of
from state_service.store import Store
from state_service.watch import Feed
from wattstream import paging
from wattstream.api.state.v1 import state_pb2 as pb
from wattstream.api.state.v1 import state_pb2_grpc
from wattstream.errors import NotFoundError

_LISTS = {Kind.VEHICLE: "vehicle states", Kind.METER: "meter states"}
SERVICE = pb.DESCRIPTOR.services_by_name["StateService"].full_name


class StateServicer(state_pb2_grpc.StateServiceServicer):
    """Answers StateService; each RPC is described in the contract."""

    def __init__(self, store: Store, feed: Feed, online_within_s: float) -> None:
        self._store = store
        self._feed = feed
        self._online_within_s = online_within_s

    async def ApplyReadings(self, request: pb.ApplyReadingsRequest, _: Any) -> pb.ApplyReadingsResponse:
        applied = await self._store.apply(newest(translate.to_states(request.readings)))
        stale = len(request.readings) - applied.replaced
        return pb.ApplyReadingsResponse(applied=applied.replaced, stale=stale, store_id=applied.store_id)

    async def GetVehicleState(self, request: pb.GetVehicleStateRequest, _: Any) -> pb.GetVehicleStateResponse:
        return pb.GetVehicleStateResponse(state=await self._get(Kind.VEHICLE, request.vehicle_id))

    async def GetMeterState(self, request: pb.GetMeterStateRequest, _: Any) -> pb.GetMeterStateResponse:
        return pb.GetMeterStateResponse(state=await self._get(Kind.METER, request.meter_id))

    async def BatchGetVehicleStates(
        self, request: pb.BatchGetVehicleStatesRequest, _: Any
    ) -> pb.BatchGetVehicleStatesResponse:
        keys = translate.to_keys(Kind.VEHICLE, request.vehicle_ids, "vehicle_ids")
        states, missing = await self._get_many(keys)
        return pb.BatchGetVehicleStatesResponse(states=states, missing_vehicle_ids=missing)

    async def BatchGetMeterStates(
        self, request: pb.BatchGetMeterStatesRequest, _: Any
    ) -> pb.BatchGetMeterStatesResponse:
        keys = translate.to_keys(Kind.METER, request.meter_ids, "meter_ids")
        states, missing = await self._get_many(keys)
        return pb.BatchGetMeterStatesResponse(states=states, missing_meter_ids=missing)

    async def ListVehicleStates(self, request: pb.ListVehicleStatesRequest, _: Any) -> pb.ListVehicleStatesResponse:
        states, token = await self._page(Kind.VEHICLE, request.page_size, request.page_token)
        return pb.ListVehicleStatesResponse(states=states, next_page_token=token)

    async def ListMeterStates(self, request: pb.ListMeterStatesRequest, _: Any) -> pb.ListMeterStatesResponse:
        states, token = await self._page(Kind.METER, request.page_size, request.page_token)
        return pb.ListMeterStatesResponse(states=states, next_page_token=token)

    async def WatchStates(self, request: pb.WatchStatesRequest, _: Any) -> AsyncIterator[pb.WatchStatesResponse]:
        async for update in self._feed.watch(translate.to_selection(request)):
            yield translate.from_update(update, self._is_online)

    async def _get(self, kind: Kind, device_id: str) -> Any:
        key = translate.to_key(kind, device_id, f"{kind.value}_id")
        state = (await self._store.get([key])).get(key)
        if state is None:
            raise NotFoundError(kind.value, device_id, f"{kind.value} {device_id} never reported")
        return self._told(state)

    async def _get_many(self, keys: list[str]) -> tuple[list[Any], list[str]]:
        found = await self._store.get(keys)
        return [self._told(state) for state in found.values()], [id_of(key) for key in keys if key not in found]

    async def _page(self, kind: Kind, page_size: int, page_token: str) -> tuple[list[Any], str]:
        size = paging.page_size(page_size, translate.DEFAULT_PAGE, translate.MAX_DEVICES)
        [after] = paging.from_token(_LISTS[kind], page_token, "")
        states, last = await self._store.page(kind, str(after), size)
        return [self._told(state) for state in states], paging.to_token(_LISTS[kind], last) if last else ""

    def _told(self, state: State) -> Any:
        return translate.from_state(state, self._is_online(state))

    def _is_online(self, state: State) -> bool:
        return is_online(state.received_at_us, time.time_ns() // 1_000, self._online_within_s)
