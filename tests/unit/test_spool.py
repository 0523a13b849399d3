"""The spool: durable, bounded by a policy, one process's own, and never silently emptied."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading
from wattstream.client import Rejection, Spool, SpoolError, SpoolFullError
from wattstream.client.spool import rows, spooled_bytes

ROW = (b"x" * 60, "m:M1")
SIZE = spooled_bytes([ROW])


def numbers(spool: Spool) -> list[int]:
    return [row.seq for row in spool.following(0, 10_000, 10**9)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_what_was_appended_is_there_in_order_after_it_was_opened_again(path: Path) -> None:
    readings = [Reading(meter=MeterReading(meter_id=f"M{number}")) for number in range(5)]
    serialised = [reading.SerializeToString() for reading in readings]
    with Spool(path) as spool:
        spool.append(rows(readings[:2], serialised[:2]))
        spool.append(rows(readings[2:], serialised[2:]))
        before = (spool.count, spool.bytes, spool.last_seq)
    with Spool(path) as spool:
        assert (spool.count, spool.bytes, spool.last_seq) == before == (5, before[1], 5)
        assert [row.reading for row in spool.following(0, 10, 10**6)] == serialised
        assert [row.seq for row in spool.following(2, 2, 10**6)] == [3, 4]
        assert [row.seq for row in spool.following(2, 2, 1)] == [3]


def test_what_was_removed_is_gone_and_its_room_is_free(path: Path) -> None:
    with Spool(path) as spool:
        spool.append([ROW] * 10)
        spool.remove(1, 4)
        assert (spool.count, spool.bytes) == (6, 6 * SIZE)
    with Spool(path) as spool:
        assert numbers(spool) == [5, 6, 7, 8, 9, 10]


def test_every_commit_is_synced_and_the_log_is_written_ahead(path: Path) -> None:
    with Spool(path) as spool:
        spool.append([ROW])
        assert spool._connection is not None
        assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert spool._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_refuse_takes_nothing_that_does_not_fit_and_drops_nothing(path: Path) -> None:
    with Spool(path, max_bytes=10 * SIZE) as spool:
        spool.append([ROW] * 10)
        assert spool.wants_room(SIZE)
        with pytest.raises(SpoolFullError, match="10 readings"):
            spool.make_room(SIZE, 0)
        assert numbers(spool) == list(range(1, 11))


def test_drop_oldest_drops_the_oldest_that_are_not_under_way(path: Path) -> None:
    with Spool(path, max_bytes=100 * SIZE, when_full="drop_oldest") as spool:
        spool.append([ROW] * 100)
        assert spool.make_room(SIZE, after=10) == list(range(11, 17))  # one, and a twentieth of the bound
        assert numbers(spool) == [*range(1, 11), *range(17, 101)]


def test_thin_middle_drops_every_second_reading_of_each_device_in_the_middle_half(path: Path) -> None:
    with Spool(path, max_bytes=40 * SIZE, when_full="thin_middle") as spool:
        spool.append([(ROW[0], f"m:M{number % 2}") for number in range(40)])
        dropped = spool.make_room(SIZE, 0)
        # The middle half is 11 to 30; its devices alternate, and of each every second one goes.
        assert dropped == [13, 14, 17, 18, 21, 22, 25, 26, 29, 30]
        assert spool.bytes == 30 * SIZE


def test_thin_middle_thins_again_where_once_is_not_enough(path: Path) -> None:
    with Spool(path, max_bytes=40 * SIZE, when_full="thin_middle") as spool:
        spool.append([ROW] * 40)
        dropped = spool.make_room(15 * SIZE, 0)
        assert len(dropped) >= 15
        assert numbers(spool)[:5] == [1, 2, 3, 4, 5]
        assert numbers(spool)[-5:] == [36, 37, 38, 39, 40]


def test_thin_middle_refuses_where_no_device_has_two_readings_to_choose_from(path: Path) -> None:
    with Spool(path, max_bytes=8 * SIZE, when_full="thin_middle") as spool:
        spool.append([(ROW[0], f"m:M{number}") for number in range(8)])
        with pytest.raises(SpoolFullError):
            spool.make_room(SIZE, 0)
        assert spool.count == 8


@pytest.mark.parametrize("policy", ["refuse", "drop_oldest", "thin_middle"])
def test_what_is_larger_than_the_whole_spool_is_refused_and_nothing_is_dropped(path: Path, policy: str) -> None:
    with Spool(path, max_bytes=10 * SIZE, when_full=policy) as spool:  # type: ignore[arg-type] # one of its literals
        spool.append([ROW] * 10)
        with pytest.raises(SpoolFullError):
            spool.make_room(11 * SIZE, 0)
        assert spool.count == 10


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_dropped_is_told_and_nothing_under_way_is(path: Path, data: st.DataObject) -> None:
    path.unlink(missing_ok=True)
    policy = data.draw(st.sampled_from(["refuse", "drop_oldest", "thin_middle"]))
    count, devices = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 5))
    after, wanted = data.draw(st.integers(0, 60)), data.draw(st.integers(1, 60))
    with Spool(path, max_bytes=60 * SIZE, when_full=policy) as spool:
        spool.append([(ROW[0], f"m:M{number % devices}") for number in range(count)])
        before = numbers(spool)
        try:
            dropped = spool.make_room(wanted * SIZE, after)
        except SpoolFullError:
            dropped = []
        else:
            assert spool.bytes + wanted * SIZE <= 60 * SIZE
        assert sorted(dropped + numbers(spool)) == before
        assert all(number > after for number in dropped)
        assert dropped == sorted(dropped)
        assert (spool.count, spool.bytes) == (len(numbers(spool)), len(numbers(spool)) * SIZE)


def test_readings_that_are_too_old_are_dropped_whatever_the_policy(path: Path) -> None:
    with Spool(path) as spool:
        spool.append([ROW] * 3)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE readings SET accepted_at = accepted_at - 7200 WHERE seq < 3")
    other.close()
    with Spool(path, max_age_s=3600) as spool:
        assert spool.wants_room(SIZE)
        assert spool.make_room(SIZE, 0) == [1, 2]
        assert numbers(spool) == [3]
        assert not spool.wants_room(SIZE)


def test_a_full_disk_is_told_and_what_was_there_stays(path: Path) -> None:
    with Spool(path) as spool:
        spool.append([ROW] * 10)
        assert spool._connection is not None
        pages = spool._connection.execute("PRAGMA page_count").fetchone()[0]
        spool._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SpoolFullError, match="full"):
            spool.append([ROW] * 10_000)
        assert (spool.count, numbers(spool)) == (10, list(range(1, 11)))
        spool.remove(1, 10)
        spool.append([ROW])
        assert numbers(spool) == [11]


def test_rejected_readings_are_kept_up_to_a_bound_with_why(path: Path) -> None:
    why = Rejection("meter.voltage", "OUT_OF_RANGE", "is too high")
    readings = [Reading(meter=MeterReading(meter_id=f"M{number}")) for number in range(5)]
    serialised = [reading.SerializeToString() for reading in readings]
    with Spool(path, keep_rejected=3) as spool:
        spool.append(rows(readings, serialised))
        spool.remove(1, 5, [(one, why) for one in serialised])
        assert [(one.reading, one.rejection) for one in spool.rejected()] == [(one, why) for one in readings[2:]]
        assert spool.count == 0


def test_a_second_process_is_refused_and_the_first_goes_on(path: Path) -> None:
    with Spool(path) as spool:
        spool.append([ROW])
        program = f"from wattstream.client import Spool\nSpool({str(path)!r}).open()"
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert other.returncode != 0
        assert "in use by another process" in other.stderr
        spool.append([ROW])
        assert spool.count == 2


def test_a_file_of_another_kind_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_text("these are no readings, but somebody's own notes\n" * 100)
    before = path.read_bytes()
    with pytest.raises(SpoolError, match="not a database"):
        Spool(path).open()
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes (text)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(SpoolError, match="not a spool"):
        Spool(path).open()
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path) -> None:
    with Spool(path) as spool:
        spool.append([ROW] * 1000)
    damaged = bytearray(path.read_bytes())
    damaged[8192:20000] = b"\xff" * (20000 - 8192)
    path.write_bytes(damaged)
    with pytest.raises(SpoolError, match=r"damaged|malformed"):
        Spool(path).open()
    assert path.read_bytes() == damaged


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="unable to open"):
        Spool(tmp_path / "nowhere" / "spool").open()
