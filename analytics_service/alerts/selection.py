"""Which alerts somebody watches."""

from dataclasses import dataclass

from analytics_service.alerts.messages import Alert
from wattstream.api.analytics.v1 import alerts_pb2 as pb


@dataclass(frozen=True)
class Selection:
    """Alerts about a subject, a vehicle, a meter (0 or empty: any); numbers are those of AlertSubject and AlertState.

    State and acknowledgement choose what a watch begins with, not what it goes on with: an alert that closes is told to
    who watches open ones.
    """

    subject: int = pb.ALERT_SUBJECT_UNSPECIFIED
    state: int = pb.ALERT_STATE_UNSPECIFIED
    vehicle_id: str = ""
    meter_id: str = ""
    unacknowledged_only: bool = False

    @property
    def first_state(self) -> int:
        """The state of the alerts that a watch begins with."""
        return self.state or pb.ALERT_STATE_OPEN

    def concerns(self, alert: Alert) -> bool:
        """Tell whether changes of `alert` are told."""
        return (
            self.subject in (pb.ALERT_SUBJECT_UNSPECIFIED, alert.subject)
            and self.vehicle_id in ("", alert.vehicle_id)
            and self.meter_id in ("", alert.meter_id)
        )

    def begins_with(self, alert: Alert) -> bool:
        """Tell whether a watch begins with `alert`, which is in the first state."""
        return self.concerns(alert) and not (self.unacknowledged_only and alert.acknowledged_at)
