"""Batches become one group of sorted rows, each identity once; each batch learns what became of its own readings."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_service.batches import DUPLICATE, REJECTED, STORED, Batch, Message, Verdict, prepare
from ingest_service.config import IngestConfig
from ingest_service.framing import UNARY
from ingest_service.groundwork import NotedHours
from ingest_service.grouping import DAY_US, HOUR_US, group, hours_before, hours_named, matching, split_by_days
from ingest_service.ingestion import limits_of
from ingest_service.readings import KINDS, METER, VEHICLE, KeyedRows, join, newest_by_device
from ingest_service.writer import _by_batch
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading, VehicleReading

KEYS = {METER: {b"M1": 1, b"M2": 2}, VEHICLE: {b"V3": 3, b"V4": 4}}
NOW_US = 1000 * DAY_US
LIMITS = limits_of(IngestConfig(retention_days=100_000))
_Reading = tuple[str, str, int, float]  # vehicle, meter it names, time, soc


def batch(vehicles: list[_Reading], received_at_us: int = 0, told: list[Verdict | Exception] | None = None) -> Batch:
    readings = [
        Reading(
            vehicle=VehicleReading(vehicle_id=name, meter_id=meter, soc=soc, kwh_delivered_dc=0.5, battery_temp=20.0)
        )
        for name, meter, _, soc in vehicles
    ]
    for reading, (_, _, time_us, _) in zip(readings, vehicles, strict=True):
        reading.vehicle.recorded_at.FromMicroseconds(time_us)
    data = pb.IngestReadingsRequest(readings=readings).SerializeToString()
    settle = (told if told is not None else []).append
    one = prepare([Message(data, UNARY, received_at_us, settle)], KEYS, LIMITS, 10_000, NOW_US)
    one.look_up(KEYS)
    return one


def rows(entries: list[tuple[int, int, int]]) -> KeyedRows:
    """Return rows of vehicles: key, key of the meter named or 0, time."""
    table = np.array(entries, np.int64).reshape(-1, 3)
    count = len(table)
    return KeyedRows(VEHICLE, table[:, 0], table[:, 1], table[:, 2], np.zeros((count, 3)), np.zeros(count, np.int64))


READINGS = st.lists(
    st.tuples(
        st.sampled_from(["V3", "V4", "V-unknown"]),
        st.sampled_from(["", "M1", "M2", "M-unknown"]),
        st.integers(0, 5),
        st.floats(0, 100),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(st.lists(READINGS, min_size=1, max_size=5), st.data())
def test_each_identity_is_stored_once_with_the_first_value_and_outcomes_add_up(
    sent: list[list[_Reading]], data: st.DataObject
) -> None:
    told: list[list[Verdict | Exception]] = [[] for _ in sent]
    batches = [batch(readings, 1000 + i, told[i]) for i, readings in enumerate(sent)]
    found = group(VEHICLE, batches)
    first: dict[tuple[int, int], tuple[int, float, int]] = {}
    expected = []
    for i, readings in enumerate(sent):
        for name, meter, time, soc in readings:
            if "unknown" in name or "unknown" in meter:
                expected.append(REJECTED)
            else:
                identity = KEYS[VEHICLE][name.encode()], time
                expected.append(DUPLICATE if identity in first else STORED)
                first.setdefault(identity, (KEYS[METER].get(meter.encode(), 0), soc, 1000 + i))
    kept = found.rows
    identities = list(zip(kept.key.tolist(), kept.recorded_at_us.tolist(), strict=True))
    assert identities == sorted(first)
    values = zip(kept.meter_key.tolist(), kept.values[:, 0].tolist(), kept.received_at_us.tolist(), strict=True)
    assert list(values) == [first[identity] for identity in sorted(first)]
    assert found.outcomes.tolist() == expected

    new = np.array(data.draw(st.lists(st.booleans(), min_size=len(kept), max_size=len(kept))), np.bool_)
    settled = found.settled(new)
    assert np.count_nonzero(settled == STORED) == np.count_nonzero(new)
    nothing = np.zeros(0, np.int8)
    for one, outcomes in zip(batches, _by_batch(batches, {METER: nothing, VEHICLE: settled}), strict=True):
        one.settle(outcomes)
    for readings, [verdict] in zip(sent, told, strict=True):
        assert isinstance(verdict, Verdict)
        assert verdict.stored + verdict.duplicates + len(verdict.rejections) == verdict.readings == len(readings)
        reasons = {r.reason for r in verdict.rejections}
        assert reasons <= {pb.RejectionReason.REJECTION_REASON_UNKNOWN_DEVICE}


def test_a_rejection_for_an_unknown_device_names_the_field_and_the_device() -> None:
    one = batch([("V3", "M1", 1, 50.0), ("V-unknown", "", 2, 50.0), ("V4", "M-unknown", 3, 50.0)])
    assert [(r.index, r.field, r.message.split(" is ")[0]) for r in one.rejections[0]] == [
        (1, "vehicle.vehicle_id", "'V-unknown'"),
        (2, "vehicle.meter_id", "'M-unknown'"),
    ]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 400), max_size=30), min_size=2, max_size=2), st.integers(1, 40))
def test_a_split_holds_each_row_once_and_few_days_a_part(days: list[list[int]], most: int) -> None:
    groups = {
        kind: group(VEHICLE, [batch([("V3", "", day * DAY_US + i, 1.0) for i, day in enumerate(of_kind)])])
        for kind, of_kind in zip(KINDS, days, strict=True)
    }
    parts = split_by_days(groups, most)
    for kind, of_kind in zip(KINDS, days, strict=True):
        times = np.concatenate([groups[kind].rows.recorded_at_us[part[kind]] for part in parts] or [np.zeros(0)])
        assert sorted(times.tolist()) == sorted(day * DAY_US + i for i, day in enumerate(of_kind))
    for part in parts:
        assert 1 <= len({t // DAY_US for k in KINDS for t in groups[k].rows.recorded_at_us[part[k]].tolist()}) <= most


IDENTITIES = st.sets(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=20)


@settings(deadline=None)
@given(IDENTITIES, st.randoms())
def test_rows_are_matched_with_those_that_were_stored(identities: set[tuple[int, int]], random: object) -> None:
    offered = sorted(identities)
    stored = [identity for identity in offered if random.random() < 0.5]  # type: ignore[attr-defined]
    random.shuffle(stored)  # type: ignore[attr-defined]
    table = rows([(key, 0, time) for key, time in offered])
    assert matching(table, stored).tolist() == [identity in stored for identity in offered]


NAMED = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 5 * HOUR_US)), max_size=30)


@settings(deadline=None)
@given(st.lists(NAMED, max_size=6))
def test_hours_hold_every_meter_named_and_are_noted_before_they_are_remembered(groups: list[list[tuple]]) -> None:
    noted = NotedHours()
    in_database: set[tuple[int, int, int]] = set()
    for entries in groups:
        hours = hours_named(rows(sorted(entries, key=lambda entry: (entry[0], entry[2]))))
        wanted = {(meter, time // HOUR_US, key) for key, meter, time in entries if meter}
        assert {tuple(hour) for hour in hours.tolist()} == wanted
        missing = noted.missing(hours)
        in_database |= {tuple(hour) for hour in missing.tolist()}
        assert wanted <= in_database
        noted.remember(missing)


@settings(deadline=None)
@given(NAMED, NAMED, st.integers(0, 6))
def test_the_hours_before_a_time_are_those_of_earlier_readings_each_once(
    vehicles: list[tuple[int, int, int]], meters: list[tuple[int, int, int]], before: int
) -> None:
    of_meters = rows(sorted((key, 0, time) for key, _, time in meters))
    of_vehicles = rows(sorted(vehicles, key=lambda entry: (entry[0], entry[2])))
    found = hours_before({METER: of_meters, VEHICLE: of_vehicles}, before * HOUR_US).tolist()
    wanted = {(key, meter, time // HOUR_US) for key, meter, time in vehicles if time < before * HOUR_US}
    wanted |= {(0, key, time // HOUR_US) for key, _, time in meters if time < before * HOUR_US}
    assert sorted(map(tuple, found)) == sorted(wanted)


def test_a_vehicle_that_stays_behind_its_meter_is_noted_once_an_hour() -> None:
    noted = NotedHours()
    for minute in range(120):
        hours = noted.missing(hours_named(rows([(9, 7, minute * 60_000_000), (10, 7, minute * 60_000_000)])))
        assert len(hours) == (2 if minute % 60 == 0 else 0)
        noted.remember(hours)


def test_what_is_remembered_of_hours_grows_with_the_fleet_and_not_with_history() -> None:
    noted = NotedHours()
    for hour in range(1000):
        noted.remember(hours_named(rows([(key, 1 + hour % 7, hour * HOUR_US) for key in range(1, 101)])))
    assert noted._last.nbytes < 100 * 8 * 4


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_newest_of_each_device_is_kept_of_equals_the_first(entries: list[tuple[int, int, int]]) -> None:
    parts = [rows(entries[: len(entries) // 2]), rows(entries[len(entries) // 2 :])]
    kept = newest_by_device(join(parts))
    newest: dict[int, tuple[int, int, int]] = {}
    for entry in entries:
        if entry[0] not in newest or entry[2] > newest[entry[0]][2]:
            newest[entry[0]] = entry
    found = zip(kept.key.tolist(), kept.meter_key.tolist(), kept.recorded_at_us.tolist(), strict=True)
    assert list(found) == [newest[key] for key in sorted(newest)]


def test_of_two_batches_the_one_that_came_first_has_its_value_stored() -> None:
    found = group(VEHICLE, [batch([("V3", "", 1, 1.0)]), batch([("V3", "", 1, 2.0), ("V3", "", 2, 3.0)])])
    assert found.outcomes.tolist() == [STORED, DUPLICATE, STORED]
    assert found.rows.values[:, 0].tolist() == [1.0, 3.0]
