"""Rows as the bytes of PostgreSQL's binary COPY, made by numpy without a loop.

The format is that of https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS: a header, then for
each row the number of fields and for each field its length and its bytes, big-endian, then a trailer.
"""

import numpy as np

from ingest_service.readings import METER, Bools, KeyedRows

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_EPOCH_2000_US = 946_684_800_000_000  # PostgreSQL counts timestamps from 2000-01-01
_NULL_LENGTH = -1


def copy_bytes(rows: KeyedRows) -> bytes:
    """Return the rows as binary COPY data for the columns (key, recorded_at, values...) of meters, or
    (key, meter_key, recorded_at, values...) of vehicles.

    Vehicle rows without a meter have one field less in bytes, so they come as a run of their own, ahead of the others.
    """  # noqa: D205 - the tuple would not fit a line
    if rows.kind is METER:
        return _HEADER + _records(rows, ~np.zeros(len(rows), np.bool_), ("key",)) + _TRAILER
    named = rows.meter_key > 0
    runs = _records(rows, ~named, ("key", "null")) + _records(rows, named, ("key", "meter_key"))
    return _HEADER + runs + _TRAILER


def _records(rows: KeyedRows, chosen: Bools, leading: tuple[str, ...]) -> bytes:
    if not chosen.any():
        return b""
    layout = [("fields", ">i2")]
    for name in leading:
        layout.append((f"{name}_length", ">i4"))
        if name != "null":
            layout.append((name, ">i4"))
    layout += [("time_length", ">i4"), ("time", ">i8")]
    for name in rows.kind.values:
        layout += [(f"{name}_length", ">i4"), (name, ">f8")]
    records = np.empty(int(chosen.sum()), dtype=layout)
    records["fields"] = len(leading) + 1 + len(rows.kind.values)
    for name in leading:
        records[f"{name}_length"] = _NULL_LENGTH if name == "null" else 4
        if name != "null":
            records[name] = getattr(rows, name)[chosen]
    records["time_length"] = 8
    records["time"] = rows.recorded_at_us[chosen] - _EPOCH_2000_US
    for column, name in enumerate(rows.kind.values):
        records[f"{name}_length"] = 8
        records[name] = rows.values[chosen, column]
    return records.tobytes()
