"""The calls about alerts, and about the rules by which they are found."""

import time
from collections.abc import Iterator
from datetime import datetime

import grpc

from wattstream.api.analytics.v1.alerts_pb2 import (
    AcknowledgeEfficiencyAlertRequest,
    AlertFilter,
    DeleteEfficiencyRuleRequest,
    EfficiencyAlert,
    EfficiencyRule,
    ListEfficiencyAlertsRequest,
    ListEfficiencyRulesRequest,
    SetEfficiencyRuleRequest,
    WatchEfficiencyAlertsRequest,
    WatchEfficiencyAlertsResponse,
)
from wattstream.api.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub
from wattstream.client.errors import ServiceError, from_rpc_error, service_errors
from wattstream.client.pages import pages
from wattstream.client.retry import Attempts, Retry
from wattstream.client.times import timestamp


class AlertCalls:
    """What is asked of the analytics service about alerts."""

    _analytics: AnalyticsServiceStub
    _timeout_s: float

    def alerts(
        self,
        filter: AlertFilter | None = None,  # noqa: A002 - the name of the field
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 0,
    ) -> Iterator[EfficiencyAlert]:
        """Yield alerts, the newest first; those whose drop ended after `since` and began before `until`."""
        request = ListEfficiencyAlertsRequest(
            filter=filter, since=timestamp(since), until=timestamp(until), page_size=page_size
        )
        for page in pages(self._analytics.ListEfficiencyAlerts, request, self._timeout_s):
            yield from page.alerts

    def watch_alerts(
        self,
        filter: AlertFilter | None = None,  # noqa: A002 - the name of the field
        *,
        resume_token: str = "",
        retry: Retry | None = None,
    ) -> Iterator[WatchEfficiencyAlertsResponse]:
        """Yield the open alerts, or what has changed since a resume token, then changes.

        After a loss of connection it goes on where it was. Each answer carries the token to go on with another time.
        """
        request = WatchEfficiencyAlertsRequest(filter=filter, resume_token=resume_token)
        attempts = Attempts(retry or Retry())
        while True:
            call = self._analytics.WatchEfficiencyAlerts(request)
            try:
                for response in call:
                    attempts.progressed()
                    request.resume_token = response.resume_token or request.resume_token
                    yield response
                lost = ServiceError("UNAVAILABLE", "the service ended the watch")
            except grpc.RpcError as error:
                lost = from_rpc_error(error)
            finally:
                call.cancel()
            time.sleep(attempts.failed(lost))

    def acknowledge(self, alert_id: int, acknowledged_by: str = "", note: str = "") -> EfficiencyAlert:
        """Note that somebody has seen an alert, and return it. Another time replaces who and what was noted."""
        request = AcknowledgeEfficiencyAlertRequest(alert_id=alert_id, acknowledged_by=acknowledged_by, note=note)
        with service_errors():
            return self._analytics.AcknowledgeEfficiencyAlert(request, timeout=self._timeout_s).alert

    def rules(self) -> list[EfficiencyRule]:
        """Return when a drop is worth an alert: the fleet's rule, then those of meters."""
        with service_errors():
            answer = self._analytics.ListEfficiencyRules(ListEfficiencyRulesRequest(), timeout=self._timeout_s)
        return list(answer.rules)

    def set_rule(self, rule: EfficiencyRule) -> EfficiencyRule:
        """Set the rule of a meter, or without one of the fleet; what is not set has its default. Return it whole."""
        with service_errors():
            request = SetEfficiencyRuleRequest(rule=rule)
            return self._analytics.SetEfficiencyRule(request, timeout=self._timeout_s).rule

    def delete_rule(self, meter_id: str) -> None:
        """Delete the rule of a meter, which has the fleet's from then on."""
        with service_errors():
            self._analytics.DeleteEfficiencyRule(
                DeleteEfficiencyRuleRequest(meter_id=meter_id), timeout=self._timeout_s
            )
