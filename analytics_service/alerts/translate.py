"""Between the messages about alerts and rules and what they mean; what cannot be used is refused here."""

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from analytics_service import windows
from analytics_service.alerts.book import RuleOf
from analytics_service.alerts.drops import Rule
from wattstream.api.analytics.v1 import alerts_pb2 as pb
from wattstream.errors import bad_field
from wattstream.ids import ID_RULE, is_id

_DEFAULT = Rule(threshold=0.85, hysteresis=0.02, least_minutes=15, window_hours=24)
_LONGEST_NAME, _LONGEST_NOTE = 100, 1_000


def to_time(request: pb.ListEfficiencyAlertsRequest, field: str) -> datetime | None:
    """Return the time in a field of a request, None if it is not set.

    Raises:
        InvalidRequestError: it is not a time of the years 1970 to 9999.
    """
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    stamp: Timestamp = getattr(request, field)
    return windows.instant_of(field, stamp.seconds, stamp.nanos)


def to_acknowledgement(request: pb.AcknowledgeEfficiencyAlertRequest) -> tuple[int, str, str]:
    """Return which alert is acknowledged, by whom, and what is noted.

    Raises:
        InvalidRequestError: the id is none, or a text is too long or cannot be stored.
    """
    if request.alert_id <= 0:
        raise bad_field("alert_id", "is required: the number of an alert")
    by = _text("acknowledged_by", request.acknowledged_by, _LONGEST_NAME)
    return request.alert_id, by, _text("note", request.note, _LONGEST_NOTE)


def to_rule(request: pb.SetEfficiencyRuleRequest) -> RuleOf:
    """Return the rule that is to be set; what is not set of it has its default.

    Raises:
        InvalidRequestError: there is none, or one of its fields cannot be used.
    """
    if not request.HasField("rule"):
        raise bad_field("rule", "is required")
    message = request.rule
    if message.meter_id and not is_id(message.meter_id):
        raise bad_field("rule.meter_id", f"{ID_RULE}; or empty, for the fleet")
    rule = Rule(*(_given(message, name, default) for name, default in _DEFAULT._asdict().items()))
    if not 0 < rule.threshold <= 1:
        raise bad_field("rule.threshold", f"is {rule.threshold:g}; must be above 0, and 1 at most")
    if not 0 <= rule.hysteresis <= 0.5:
        raise bad_field("rule.hysteresis", f"is {rule.hysteresis:g}; must be 0 to 0.5")
    if not 1 <= rule.window_hours <= 168:
        raise bad_field("rule.window_hours", f"is {rule.window_hours}; must be 1 to 168")
    if not 1 <= rule.least_minutes <= 60 * rule.window_hours:
        most = f"{60 * rule.window_hours:,}, the minutes of its window"
        raise bad_field("rule.least_minutes", f"is {rule.least_minutes}; must be 1 to {most}")
    return RuleOf(message.meter_id, rule)


def to_rule_message(of: RuleOf) -> pb.EfficiencyRule:
    """Return the message for a rule, all fields set."""
    return pb.EfficiencyRule(meter_id=of.meter_id, **of.rule._asdict())


def to_meter_id(request: pb.DeleteEfficiencyRuleRequest) -> str:
    """Return whose rule is to be deleted.

    Raises:
        InvalidRequestError: the id is missing, or none.
    """
    if not request.meter_id:
        raise bad_field("meter_id", "is required: the fleet always has a rule")
    if not is_id(request.meter_id):
        raise bad_field("meter_id", ID_RULE)
    return request.meter_id


def _given(message: pb.EfficiencyRule, name: str, default: Any) -> Any:
    return getattr(message, name) if message.HasField(name) else default  # type: ignore[arg-type]


def _text(field: str, text: str, most: int) -> str:
    if len(text) > most:
        raise bad_field(field, f"has {len(text):,} characters; must have {most:,} at most")
    if "\0" in text:
        raise bad_field(field, "holds a character of number 0; must hold none")
    return text
