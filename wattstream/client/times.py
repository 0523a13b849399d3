"""Instants and windows as messages."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from wattstream.api.analytics.v1.analytics_pb2 import TimeWindow


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return `moment`, which must carry an offset, as a Timestamp."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} carries no offset from UTC")
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def window(start: datetime | None, end: datetime | None) -> TimeWindow | None:
    """Return [start, end) as a TimeWindow; None where neither is given."""
    if start is None and end is None:
        return None
    return TimeWindow(start=timestamp(start), end=timestamp(end))
