"""SQL from its files, ready to be sent: parts put in, partitions named, parameters numbered."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any, LiteralString, NamedTuple

from wattstream.resources import read

_PARAMETER = re.compile(r"%\((\w+)\)s")
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)
_SPACE = re.compile(r"\s+")
_PARTS = ("fleet", "met", "pairing", "days")
_PARENTS = ("vehicle_readings", "meter_readings")


class Statement(NamedTuple):
    """A statement with $1, $2, ... in place of %(name)s, and which names these were."""

    text: LiteralString
    names: tuple[str, ...]

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the parameters in the order of their numbers."""
        return [parameters[name] for name in self.names]


def array(values: Iterable[datetime | int]) -> str:
    """Return values as PostgreSQL writes an array of them: the driver takes ten times as long."""
    return "{" + ",".join(map(str, values)) + "}"


def statement(name: str, days: Iterable[date] = ()) -> Statement:
    """Return the statement in the file `name`.sql; in place of {fleet}, {met}, {pairing} and {days} it has those files.

    What it reads of history are the partitions of `days`, which must be there. They are named rather than left to be
    found, so that a plan can be kept, and does not lock, or even look at, the partitions of all other days.
    """
    return _statement(name, tuple(sorted(days)))


@lru_cache(maxsize=512)
def _statement(name: str, days: tuple[date, ...]) -> Statement:
    text = _file(name)
    for part in _PARTS:
        text = text.replace(f"{{{part}}}", _file(part))
    for parent in _PARENTS:
        text = text.replace(f"{{{parent}}}", _relation(parent, days))
    names: dict[str, int] = {}
    text = _PARAMETER.sub(lambda found: f"${names.setdefault(found[1], len(names) + 1)}", text)
    return Statement(text, tuple(names))


def _file(name: str) -> LiteralString:
    # The files are part of the program.
    text: Any = _SPACE.sub(" ", _COMMENT.sub("", read("analytics_service.sql", f"{name}.sql")))
    return text  # type: ignore[no-any-return]


def _relation(parent: str, days: tuple[date, ...]) -> str:
    # The parent itself, without its partitions, is empty.
    return "(" + (" UNION ALL ".join(f"TABLE {parent}_{day:%Y%m%d}" for day in days) or f"TABLE ONLY {parent}") + ")"
