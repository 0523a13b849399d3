"""Between messages and questions: the ranking and the summary of the fleet."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from analytics_service import translate
from analytics_service.fleet import BINS, Order, Ranked, Ranking
from analytics_service.performance import Correlation
from analytics_service.windows import Window
from wattstream import paging
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.errors import InvalidRequestError, bad_field

DEFAULT_PAGE = 100
MAX_PAGE = 1000
_BEFORE_ALL = (-math.inf, 0)
_KEYS = range(2**31)
_LIST = "vehicle performance"
_ORDERS = {pb.VEHICLE_ORDER_UNSPECIFIED: Order.EFFICIENCY, **{int(order): order for order in Order}}
_SUMS = ("kwh_consumed_ac", "kwh_delivered_dc", "kwh_metered_ac", "kwh_reported_dc")
_QUALITY = (
    "minutes_kept",
    "minutes_shared",
    "minutes_without_meter_data",
    "readings_without_meter",
    "vehicles_above_one",
    "meter_gaps",
    "meter_gap_hours",
    "longest_meter_gap_hours",
)


def to_ranking(
    request: pb.ListVehiclePerformanceRequest, now: datetime, longest: timedelta, newest: datetime, most_meters: int
) -> tuple[Ranking, tuple[float, int]]:
    """Return what a request asks for at `now`, and the place after which its page begins.

    Raises:
        InvalidRequestError: a field cannot be used.
    """
    if request.order_by not in _ORDERS:
        known = ", ".join(pb.VehicleOrder.keys())
        raise bad_field("order_by", f"must be one of {known}; got {request.order_by}")
    if not (math.isfinite(request.min_kwh_consumed_ac) and request.min_kwh_consumed_ac >= 0):
        raise bad_field("min_kwh_consumed_ac", "must be a number of kWh, 0 or more")
    if math.isnan(request.efficiency_below):
        raise bad_field("efficiency_below", "must be a number, such as 0.85")
    meter_ids = translate.to_device_ids("meter_ids", request.meter_ids, most_meters) if request.meter_ids else None
    window, place = _from_token(request, longest)
    return Ranking(
        window=window or translate.to_window_of_hours(request.window, now, longest, newest),
        order=_ORDERS[request.order_by],
        reverse=request.reverse,
        min_kwh_consumed_ac=request.min_kwh_consumed_ac,
        efficiency_below=request.efficiency_below if request.HasField("efficiency_below") else None,
        meter_ids=meter_ids,
    ), place


def to_ranking_message(
    request: pb.ListVehiclePerformanceRequest, asked: Ranking, found: Sequence[Ranked], size: int
) -> pb.ListVehiclePerformanceResponse:
    """Return the message for a page of `size`, of which `found` has one more if there is another page."""
    page = found[:size]
    return pb.ListVehiclePerformanceResponse(
        performances=[
            translate.to_performance_message(
                one.vehicle_id, asked.window, Correlation.EXCLUSIVE_MINUTES, one.performance
            )
            for one in page
        ],
        next_page_token=_to_token(request, asked.window, page[-1].place) if len(found) > size else "",
        window=translate.to_window_message(asked.window),
    )


def to_summary_message(window: Window, row: Mapping[str, Any]) -> pb.GetFleetSummaryResponse:
    """Return the message for the row of fleet_summary.sql."""
    bounds = [None, *BINS, None]
    return pb.GetFleetSummaryResponse(
        window=translate.to_window_message(window),
        **{name: row[name] for name in _SUMS},
        kwh_lost=row["kwh_consumed_ac"] - row["kwh_delivered_dc"],
        efficiency=row["kwh_delivered_dc"] / row["kwh_consumed_ac"] if row["kwh_consumed_ac"] else None,
        efficiency_histogram=[
            pb.EfficiencyBin(**{"from": least}, below=above, vehicles=vehicles)
            for (least, above), vehicles in zip(pairwise(bounds), row["histogram"], strict=True)
        ],
        vehicles_reporting=row["vehicles_reporting"],
        vehicles_silent=row["vehicles_registered"] - row["vehicles_reporting"],
        meters_reporting=row["meters_reporting"],
        meters_silent=row["meters_registered"] - row["meters_reporting"],
        quality=pb.DataQuality(**{name: row[name] for name in _QUALITY}),
    )


def _from_token(
    request: pb.ListVehiclePerformanceRequest, longest: timedelta
) -> tuple[Window | None, tuple[float, int]]:
    """Return the window and the place that a page token holds."""
    if not request.page_token:
        return None, _BEFORE_ALL
    same, start, end, value, key = paging.from_token(_LIST, request.page_token, "", 0, 0, "", 0)
    if same != _digest(request):
        raise bad_field("page_token", "must be of a request that is otherwise the same")
    try:
        window = Window(datetime.fromtimestamp(int(start), UTC), datetime.fromtimestamp(int(end), UTC))
        place = float.fromhex(str(value)), int(key)
    except (ValueError, OverflowError, OSError):
        raise _made_up() from None
    is_whole = window.start.minute == window.start.second == window.end.minute == window.end.second == 0
    is_used = is_whole and timedelta() < window.length <= longest
    if not is_used or math.isnan(place[0]) or place[1] not in _KEYS:
        raise _made_up()
    return window, place


def _made_up() -> InvalidRequestError:
    return bad_field("page_token", "must be next_page_token of an earlier page of this list")


def _to_token(request: pb.ListVehiclePerformanceRequest, window: Window, place: tuple[float, int]) -> str:
    start, end = int(window.start.timestamp()), int(window.end.timestamp())
    return paging.to_token(_LIST, _digest(request), start, end, place[0].hex(), place[1])


def _digest(request: pb.ListVehiclePerformanceRequest) -> str:
    """Return what is the same for all pages of a list."""
    bare = pb.ListVehiclePerformanceRequest()
    bare.CopyFrom(request)
    bare.ClearField("page_size")
    bare.ClearField("page_token")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()[:16]
