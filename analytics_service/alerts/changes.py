"""What has become of alerts, in the order in which it did: pages of those that changed after a revision.

Every change gives an alert the next revision, and revisions become visible in their order. So whoever knows up to which
revision it has been told can be told the rest, whatever happened in between.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from analytics_service.alerts.messages import Alert
from wattstream.api.analytics.v1 import alerts_pb2 as pb
from wattstream.errors import AwayError
from wattstream.postgres import Pool
from wattstream.resources import read

PAGE = 200

_SQL = "analytics_service.sql"
_LAST = 2**63 - 1
_DEADLINE_S = 10.0


@dataclass(frozen=True)
class Position:
    """How far somebody has been told: of all changes up to the revision `told`.

    Of alerts that were last changed up to the revision `first`, only those in a certain state are told of: that is how
    one begins with what is open.
    """

    told: int
    first: int = 0

    def after(self, alerts: list[Alert], most: int) -> "Position":
        """Return the position of one who has been told of a page that had room for `most`."""
        if self.told < self.first and len(alerts) < most:
            return Position(self.first, self.first)
        return Position(alerts[-1].revision, self.first) if alerts else self


async def page(
    connection: AsyncConnection[Any], position: Position, *, most: int, first_state: int = pb.ALERT_STATE_OPEN
) -> tuple[list[Alert], Position]:
    """Return what one at `position` is told of next, in order of revision, and the position after it.

    Nothing and the same position: there is nothing to tell.
    """
    first = position.told < position.first
    question = {
        "after": position.told,
        "until": position.first if first else _LAST,
        "state": first_state if first else None,
        "most": most,
    }
    cursor = connection.cursor(row_factory=class_row(Alert))
    # Never prepared: a plan for any state would not use the index of open alerts.
    await cursor.execute(read(_SQL, "alerts_changed.sql"), question, prepare=False)
    alerts = await cursor.fetchall()
    return alerts, position.after(alerts, most)


class Changes:
    """Reads changes for those who watch: with one connection of the pool at a time, whatever their number.

    Args:
        pool: where connections come from.
        most: how many alerts a page has room for.
    """

    def __init__(self, pool: Pool, most: int = PAGE) -> None:
        self._pool = pool
        self.most = most
        self._turn = asyncio.Semaphore(1)

    async def page(self, position: Position, first_state: int = pb.ALERT_STATE_OPEN) -> tuple[list[Alert], Position]:
        """Return the next page; see the function of this name.

        Raises:
            AwayError: the database does not answer in time.
        """
        try:
            async with asyncio.timeout(_DEADLINE_S), self._turn, self._pool.connection() as connection:
                return await page(connection, position, first_state=first_state, most=self.most)
        except TimeoutError:
            raise AwayError("the database is away") from None

    async def revision(self) -> int:
        """Return the highest revision that there is, 0 without any alert.

        Raises:
            AwayError: the database does not answer in time.
        """
        try:
            async with asyncio.timeout(_DEADLINE_S), self._turn, self._pool.connection() as connection:
                cursor = await connection.execute(read(_SQL, "alerts_revision.sql"))
                row = await cursor.fetchone()
                assert row is not None
                return int(row[0])
        except TimeoutError:
            raise AwayError("the database is away") from None
