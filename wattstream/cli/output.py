"""How commands print: protos as JSON for programs, aligned lines with units for people."""

from collections.abc import Iterable, Sequence
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


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows below the names of their columns; the first column stands at the left, the others at the right."""
    listed = [names, *rows]
    widths = [max(len(row[place]) for row in listed) for place in range(len(names))]

    def line(row: Sequence[str]) -> str:
        cells = [f"{text:>{width}}" for text, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip()

    return "\n".join(line(row) for row in listed)


def to_datetime(stamp: Timestamp) -> datetime:
    """Return a Timestamp as an instant."""
    return stamp.ToDatetime(tzinfo=UTC)


def time(stamp: Timestamp) -> str:
    """Return a Timestamp for people, in UTC."""
    return f"{utc(to_datetime(stamp))} UTC"
