"""An alert as it is stored, with the ids of its devices, and the message that tells of it."""

from dataclasses import dataclass
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from analytics_service.translate import to_timestamp
from wattstream.api.analytics.v1 import alerts_pb2 as pb


@dataclass(frozen=True)
class Alert:
    """A row of efficiency_alerts; `vehicle_id` or `meter_id` is empty where it is not about one. Energies in kWh."""

    alert_id: int
    vehicle_id: str
    meter_id: str
    state: int
    since: datetime
    until: datetime
    minutes_kept: int
    kwh_consumed_ac: float
    kwh_delivered_dc: float
    lowest_efficiency: float
    threshold: float
    opened_at: datetime
    changed_at: datetime
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str
    note: str
    revision: int

    @property
    def subject(self) -> pb.AlertSubject.ValueType:
        """What it is about."""
        if not self.meter_id:
            return pb.ALERT_SUBJECT_VEHICLE
        return pb.ALERT_SUBJECT_PAIR if self.vehicle_id else pb.ALERT_SUBJECT_METER

    @property
    def efficiency(self) -> float:
        """DC divided by AC energy; 0 when AC is 0."""
        return self.kwh_delivered_dc / self.kwh_consumed_ac if self.kwh_consumed_ac else 0.0

    @property
    def kwh_lost_below_threshold(self) -> float:
        """The DC energy that the threshold would have given, less what there was."""
        return max(0.0, self.threshold * self.kwh_consumed_ac - self.kwh_delivered_dc)


def to_message(alert: Alert) -> pb.EfficiencyAlert:
    """Return the message that tells of an alert."""
    return pb.EfficiencyAlert(
        alert_id=alert.alert_id,
        subject=alert.subject,
        vehicle_id=alert.vehicle_id,
        meter_id=alert.meter_id,
        state=pb.AlertState.ValueType(alert.state),
        since=_timestamp(alert.since),
        until=_timestamp(alert.until),
        minutes_kept=alert.minutes_kept,
        kwh_consumed_ac=alert.kwh_consumed_ac,
        kwh_delivered_dc=alert.kwh_delivered_dc,
        efficiency=alert.efficiency,
        lowest_efficiency=alert.lowest_efficiency,
        kwh_lost_below_threshold=alert.kwh_lost_below_threshold,
        threshold=alert.threshold,
        opened_at=_timestamp(alert.opened_at),
        changed_at=_timestamp(alert.changed_at),
        closed_at=_timestamp(alert.closed_at),
        acknowledged_at=_timestamp(alert.acknowledged_at),
        acknowledged_by=alert.acknowledged_by,
        note=alert.note,
        revision=alert.revision,
    )


def _timestamp(instant: datetime | None) -> Timestamp | None:
    return None if instant is None else to_timestamp(instant)
