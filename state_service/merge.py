"""The rule of the live state: the reading recorded last is the state, whatever the order in which readings arrive."""

from collections.abc import Iterable

from state_service.states import State


def is_newer(offered: State, there: State | None) -> bool:
    """Tell whether `offered` takes the place of `there`. Of two recorded at the same time, the first stays."""
    return there is None or offered.recorded_at_us > there.recorded_at_us


def newest(states: Iterable[State]) -> list[State]:
    """Return the newest state of each device among `states`."""
    kept: dict[str, State] = {}
    for state in states:
        if is_newer(state, kept.get(state.key)):
            kept[state.key] = state
    return list(kept.values())


def is_online(received_at_us: int, now_us: int, within_s: float) -> bool:
    """Tell whether a device that was last heard of at `received_at_us` counts as online."""
    return now_us - received_at_us <= within_s * 1_000_000
