"""Where the readings of a message lie in its bytes, found without decoding them.

The forms are those of https://protobuf.dev/programming-guides/encoding/. Messages of readings hold nothing but
readings and, in a stream, a batch id.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from wattstream.api.ingest.v1 import ingest_pb2

_BATCH_ID = 0x08  # field 1, a varint
_CONTINUES = 0x80
_LONGEST_BATCH_ID = 10  # bytes, as any varint of 64 bits


class Form(NamedTuple):
    """How a message of readings is laid out.

    Attributes:
        tag: the byte that begins a reading: its field number and that a length follows.
        type: the message's type.
    """

    tag: int
    type: type[Any]


UNARY = Form(0x0A, ingest_pb2.IngestReadingsRequest)
UPLOAD = Form(0x0A, ingest_pb2.UploadReadingsRequest)
STREAM = Form(0x12, ingest_pb2.StreamReadingsRequest)


class Frames(NamedTuple):
    """The readings of a message: `total` of them, of which reading i is data[starts[i]:ends[i]], if it was kept."""

    batch_id: int
    total: int
    data: bytes
    starts: Sequence[int]
    ends: Sequence[int]


class MalformedError(Exception):
    """The bytes are no message of the form."""


def frame(data: bytes, form: Form, keep: int = sys.maxsize) -> Frames:
    """Return where the readings of a message lie; those after the first `keep` are only counted.

    Raises:
        MalformedError: the bytes are no message of the form.
    """
    try:
        return _frame_usual(data, form, keep)
    except (_UnusualError, IndexError):
        return _frame_any(data, form, keep)


class _UnusualError(Exception):
    pass


def _frame_usual(data: bytes, form: Form, keep: int) -> Frames:
    """Frame a message as every library writes it: the batch id first, readings of less than 16 KiB."""
    position, size, batch_id, count = 0, len(data), 0, 0
    starts, ends = [], []
    if form is STREAM and size and data[0] == _BATCH_ID:
        position, shift, byte = 1, 0, _CONTINUES
        while byte & _CONTINUES:
            if position > _LONGEST_BATCH_ID:
                raise _UnusualError
            byte = data[position]
            batch_id |= (byte & 0x7F) << shift
            shift += 7
            position += 1
    tag = form.tag
    while position < size:
        if data[position] != tag:
            raise _UnusualError
        length = data[position + 1]
        position += 2
        if length & _CONTINUES:
            more = data[position]
            if more & _CONTINUES:
                raise _UnusualError
            length = length & 0x7F | more << 7
            position += 1
        count += 1
        if count <= keep:
            starts.append(position)
            ends.append(position + length)
        position += length
    if position != size or batch_id >> 64:
        raise _UnusualError
    return Frames(batch_id, count, data, starts, ends)


def _frame_any(data: bytes, form: Form, keep: int) -> Frames:
    """Frame a message of whatever layout, by decoding it."""
    try:
        message = form.type.FromString(data)
    except DecodeError:
        raise MalformedError from None
    parts = [reading.SerializeToString() for reading in message.readings[:keep]]
    ends = []
    position = 0
    for part in parts:
        position += len(part)
        ends.append(position)
    starts = [end - len(part) for end, part in zip(ends, parts, strict=True)]
    batch_id = message.batch_id if form is STREAM else 0
    return Frames(batch_id, len(message.readings), b"".join(parts), starts, ends)
