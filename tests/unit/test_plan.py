"""Where answers come from: whatever is rolled up, stale, cut or split, a plan is the window, each instant once."""

from datetime import UTC, datetime, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from analytics_service.plan import Piece, Plan, RawHour, plan
from analytics_service.windows import Window

MIDNIGHT = datetime(2026, 2, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(hours: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hours)


def minutes(most: int) -> st.SearchStrategy[datetime]:
    """Minutes of five days, often at the beginning of a day or an hour."""
    return st.one_of(
        st.integers(0, most // 1440).map(lambda day: at(24 * day)),
        st.integers(0, most // 60).map(at),
        st.integers(0, most).map(lambda minute: at(minute / 60)),
    )


hours = st.integers(-3, 5 * 24 + 3).map(at)
windows = st.builds(lambda a, b: Window(min(a, b), max(a, b)), minutes(7200), minutes(7200)).filter(
    lambda window: window.length
)
cuts = st.lists(minutes(7200), max_size=6, unique=True).map(sorted)


def inside(window: Window, found: list[datetime]) -> list[datetime]:
    return [cut for cut in found if window.start < cut < window.end]


def rollups(planned: Plan) -> list[tuple[datetime, datetime]]:
    """Each rollup that is taken, from when until when."""
    found = []
    for piece in planned.pieces:
        start = piece.since
        while start < piece.until:
            found.append((start, start + piece.hours * HOUR))
            start += piece.hours * HOUR
    return found


@given(windows, hours, st.sets(hours, max_size=8), cuts, st.sets(hours, max_size=4))
def test_pieces_and_readings_cover_the_window_once_and_no_rollup_is_taken_that_may_not(
    window: Window, log_from: datetime, stale: set[datetime], cuts: list[datetime], split: set[datetime]
):
    cuts = inside(window, cuts)

    planned = plan(window, log_from, stale, cuts, split)

    taken = rollups(planned)
    stretches = sorted([*taken, *((raw.since, raw.until) for raw in planned.raw)])
    assert [window.start, *(until for _, until in stretches)] == [*(since for since, _ in stretches), window.end]
    assert all(since < until for since, until in stretches)
    for since, until in taken:
        assert until <= log_from
        assert (since - MIDNIGHT) % (until - since) == timedelta(), "a rollup begins at its hour or day"
        assert not any(since <= hour < until for hour in stale)
        assert not any(since < cut < until for cut in cuts)
        assert until - since == HOUR or not any(since <= hour < until for hour in split)
    for raw in planned.raw:
        assert raw.hour <= raw.since < raw.until <= raw.hour + HOUR
        assert raw.hour.minute == 0


@given(windows, hours, st.sets(hours, max_size=8), cuts, st.sets(hours, max_size=4))
def test_readings_are_taken_only_where_no_rollup_may_be(
    window: Window, log_from: datetime, stale: set[datetime], cuts: list[datetime], split: set[datetime]
):
    cuts = inside(window, cuts)

    for raw in plan(window, log_from, stale, cuts, split).raw:
        is_whole = raw.until - raw.since == HOUR
        is_cut = any(raw.hour < cut < raw.hour + HOUR for cut in cuts)
        assert not is_whole or is_cut or raw.hour in stale or raw.hour >= log_from


@given(windows, hours, st.sets(hours, max_size=3), st.sets(hours, max_size=3), st.booleans())
def test_whole_days_are_taken_as_such_unless_one_of_their_hours_is_stale_or_split(
    window: Window, log_from: datetime, stale: set[datetime], split: set[datetime], is_cut: bool
):
    days = [at(24 * day) for day in range(5)]

    planned = plan(window, log_from, stale, inside(window, days) if is_cut else [], split)

    for day in days:
        whole = window.start <= day and day + DAY <= min(window.end, log_from)
        broken = any(day <= hour < day + DAY for hour in stale | split)
        assert ((day, day + DAY) in rollups(planned)) == (whole and not broken)


@given(windows, hours, st.sets(hours, max_size=8), st.lists(hours, max_size=4))
def test_a_plan_knows_which_rollups_and_whose_days_readings_it_takes(
    window: Window, log_from: datetime, stale: set[datetime], asked: list[datetime]
):
    assume(window.length)
    planned = plan(window, log_from, stale)

    taken = any(since <= hour < until for hour in asked for since, until in rollups(planned))
    assert planned.takes_rollups_of(asked) == taken
    assert planned.days == {raw.since.date() for raw in planned.raw}


def test_a_week_that_is_rolled_up_is_one_piece_between_its_edges():
    window = Window(at(-1.5), at(7 * 24 + 2.25))

    assert plan(window, at(1000)) == Plan(
        (Piece(1, at(-1), at(0)), Piece(24, at(0), at(168)), Piece(1, at(168), at(170))),
        (RawHour(at(-2), at(-1.5), at(-1)), RawHour(at(170), at(170), at(170.25))),
    )


def test_a_stale_hour_is_read_and_the_others_of_its_day_taken_by_the_hour():
    assert plan(Window(at(0), at(48)), at(1000), [at(5)]) == Plan(
        (Piece(1, at(0), at(5)), Piece(1, at(6), at(24)), Piece(24, at(24), at(48))), (RawHour(at(5), at(5), at(6)),)
    )


def test_the_last_minutes_that_there_are_can_be_planned():
    end = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)

    (last,) = plan(Window(end - timedelta(minutes=3), end), MIDNIGHT).raw

    assert last == RawHour(end.replace(minute=0), end - timedelta(minutes=3), end)
