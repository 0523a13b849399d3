"""Alerts as lines for a terminal, and the colours there. Pure."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from rich.text import Text

from wattstream.api.analytics.v1.alerts_pb2 import EfficiencyAlert
from wattstream.report import words

DC, LOST, BAD, FAINT = "bright_blue", "yellow", "bold red", "dim"


def alerts(found: Sequence[EfficiencyAlert], zone: tzinfo) -> Iterator[Text]:
    """Yield two lines an alert: what it is about and since when, then how deep it is."""
    for alert in found:
        line = Text(f"alert {alert.alert_id}  ")
        line.append(words.STATES.get(alert.state, "?"), BAD if words.is_open(alert) else FAINT)
        line.append(f"  {words.subject(alert)}  {words.span(alert, zone)} {zone}")
        yield line
        seen = words.seen(alert)
        yield Text(f"    {words.drop(alert)}" + (f"; {seen}" if seen else ""), FAINT)
