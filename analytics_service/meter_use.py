"""Which vehicles used a meter, and what became of its energy: asked of readings, minute by minute."""

from functools import partial

from psycopg.rows import DictRow

from analytics_service.answers import Answers, Places, Question, State
from analytics_service.plan import plan
from analytics_service.store import raw_parameters
from analytics_service.windows import Window
from wattstream.errors import NotFoundError

MOST_STAYS = 10_000


async def meter_use(answers: Answers, meter_id: str, window: Window) -> list[DictRow]:
    """Return the rows of meter_use.sql, the newest stay first, one more than 10,000 if there are more.

    Raises:
        NotFoundError: there is no such meter.
    """
    parameters = {
        "vehicle_ids": [],
        "meter_id": meter_id,
        "start": window.start,
        "end": window.end,
        "most": MOST_STAYS + 1,
    }
    rows = await answers.to(Question("meter_use", "state", parameters, partial(_places, window), needs_state=True))
    if not rows[0]["is_registered"]:
        raise NotFoundError("meter", meter_id, f"meter {meter_id} is not registered")
    return rows


def _places(window: Window, _: State) -> Places:
    planned = plan(window, window.start)  # no rollup knows of minutes
    return Places(raw_parameters(planned.raw), planned.days, planned.takes_rollups_of)
