"""What became of a batch, from what was judged and what the writer made of it. Pure."""

from typing import NamedTuple

import numpy as np

from ingest_service.grouping import DUPLICATE, STORED, UNKNOWN_DEVICE, UNKNOWN_METER, Outcomes
from ingest_service.readings import KINDS, Kind
from ingest_service.validation import Judged, Rejection, unknown_device


class Verdict(NamedTuple):
    """How many readings of a batch are new, how many are repeats, and which were rejected and why."""

    stored: int
    duplicates: int
    rejections: list[Rejection]


def verdict(judged: Judged, outcomes: dict[Kind, Outcomes]) -> Verdict:
    """Return what became of a batch, given the outcome of each of its acceptable readings."""
    rejections = list(judged.rejections)
    for kind, of_kind in outcomes.items():
        columns = judged.batch.of(kind)
        for row in np.flatnonzero(of_kind == UNKNOWN_DEVICE).tolist():
            rejections.append(unknown_device(columns, row, f"{kind.name}_id", columns.device_id[row]))
        for row in np.flatnonzero(of_kind == UNKNOWN_METER).tolist():
            rejections.append(unknown_device(columns, row, "meter_id", columns.meter_id[row]))
    rejections.sort(key=lambda rejection: rejection.index)
    return Verdict(_count(outcomes, STORED), _count(outcomes, DUPLICATE), rejections)


def nothing_stored(judged: Judged) -> Verdict:
    """Return the verdict on a batch without an acceptable reading."""
    return verdict(judged, {kind: np.zeros(0, np.int8) for kind in KINDS})


def _count(outcomes: dict[Kind, Outcomes], wanted: int) -> int:
    return sum(int(np.count_nonzero(of_kind == wanted)) for of_kind in outcomes.values())
