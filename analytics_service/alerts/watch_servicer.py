"""AnalyticsService.WatchEfficiencyAlerts, from message to selection and from update to message."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from analytics_service.alerts.changes import Position
from analytics_service.alerts.feed import Feed, Update
from analytics_service.alerts.messages import to_message
from analytics_service.alerts.selection import Selection
from wattstream import paging
from wattstream.api.analytics.v1 import alerts_pb2 as pb
from wattstream.errors import InvalidRequestError, bad_field
from wattstream.ids import ID_RULE, is_id

_TOKEN = "alert changes"  # noqa: S105 - what the token is of


class WatchServicer:
    """Answers WatchEfficiencyAlerts from a feed; a part of AnalyticsServicer."""

    _feed: Feed

    async def WatchEfficiencyAlerts(
        self, request: pb.WatchEfficiencyAlertsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.WatchEfficiencyAlertsResponse]:
        selection, position = to_selection(request.filter), to_position(request.resume_token)
        async for update in self._feed.watch(selection, position):
            yield to_response(update)


def to_selection(message: pb.AlertFilter) -> Selection:
    """Return the selection that a filter means.

    Raises:
        InvalidRequestError: an id is no id, or an enum has no such number; the field is named.
    """
    for field, enum in (("subject", pb.AlertSubject), ("state", pb.AlertState)):
        number = getattr(message, field)
        if number not in enum.values():
            raise bad_field(f"filter.{field}", f"must be one of {', '.join(enum.keys())}; got {number}")
    for field in ("vehicle_id", "meter_id"):
        text = getattr(message, field)
        if text and not is_id(text):
            raise bad_field(f"filter.{field}", ID_RULE)
    return Selection(message.subject, message.state, message.vehicle_id, message.meter_id, message.unacknowledged_only)


def to_position(token: str) -> Position | None:
    """Return the position that a resume token holds, None for an empty one.

    Raises:
        InvalidRequestError: it is no resume token.
    """
    if not token:
        return None
    try:
        told, first = (int(part) for part in paging.from_token(_TOKEN, token, 0, 0))
    except InvalidRequestError:
        raise bad_field("resume_token", "must be resume_token of an earlier answer") from None
    return Position(told, first)


def to_response(update: Update) -> pb.WatchEfficiencyAlertsResponse:
    """Return the message for an update."""
    return pb.WatchEfficiencyAlertsResponse(
        alerts=map(to_message, update.alerts),
        resume_token=paging.to_token(_TOKEN, update.position.told, update.position.first),
        caught_up=update.caught_up,
    )
