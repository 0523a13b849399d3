"""How commands print: protos as JSON for programs, aligned lines with units for people."""

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from wattstream.cli.times import utc


def to_json(message: Message, *, indent: int | None = 2) -> str:
    """Return a proto as JSON, with the field names of the proto file and every field that has a value by default."""
    return MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=indent
    )


def aligned(rows: Iterable[tuple[str, str]]) -> str:
    """Return rows of a label and a value, one a line, with the values below one another."""
    listed = list(rows)
    width = max((len(label) for label, _ in listed), default=0)
    return "\n".join(f"{label:<{width}}  {value}".rstrip() for label, value in listed)


def to_datetime(stamp: Timestamp) -> datetime:
    """Return a Timestamp as an instant."""
    return stamp.ToDatetime(tzinfo=UTC)


def time(stamp: Timestamp) -> str:
    """Return a Timestamp for people, in UTC."""
    return f"{utc(to_datetime(stamp))} UTC"
