"""The calls about alerts and rules, from message to book and back; watching is in watch_servicer."""

from typing import Any

import grpc.aio

from analytics_service.alerts import translate
from analytics_service.alerts.book import Book
from analytics_service.alerts.messages import to_message
from analytics_service.alerts.watch_servicer import to_selection
from wattstream import paging
from wattstream.api.analytics.v1 import alerts_pb2 as pb

_PAGE, _LONGEST_PAGE = 100, 1_000
_LAST = 2**63 - 1
_LIST = "alerts"

Context = grpc.aio.ServicerContext[Any, Any]


class AlertsServicer:
    """Answers from a book of alerts and rules; a part of AnalyticsServicer."""

    _book: Book

    async def ListEfficiencyAlerts(
        self, request: pb.ListEfficiencyAlertsRequest, context: Context
    ) -> pb.ListEfficiencyAlertsResponse:
        selection = to_selection(request.filter)
        since, until = translate.to_time(request, "since"), translate.to_time(request, "until")
        most = paging.page_size(request.page_size, _PAGE, _LONGEST_PAGE)
        (before,) = paging.from_token(_LIST, request.page_token, _LAST)
        found = await self._book.alerts(selection, since, until, int(before), most)
        following = paging.to_token(_LIST, found[-1].alert_id) if len(found) == most else ""
        return pb.ListEfficiencyAlertsResponse(alerts=map(to_message, found), next_page_token=following)

    async def AcknowledgeEfficiencyAlert(
        self, request: pb.AcknowledgeEfficiencyAlertRequest, context: Context
    ) -> pb.AcknowledgeEfficiencyAlertResponse:
        alert = await self._book.acknowledge(*translate.to_acknowledgement(request))
        return pb.AcknowledgeEfficiencyAlertResponse(alert=to_message(alert))

    async def SetEfficiencyRule(
        self, request: pb.SetEfficiencyRuleRequest, context: Context
    ) -> pb.SetEfficiencyRuleResponse:
        of = translate.to_rule(request)
        await self._book.set_rule(*of)
        return pb.SetEfficiencyRuleResponse(rule=translate.to_rule_message(of))

    async def ListEfficiencyRules(
        self, request: pb.ListEfficiencyRulesRequest, context: Context
    ) -> pb.ListEfficiencyRulesResponse:
        return pb.ListEfficiencyRulesResponse(rules=map(translate.to_rule_message, await self._book.rules()))

    async def DeleteEfficiencyRule(
        self, request: pb.DeleteEfficiencyRuleRequest, context: Context
    ) -> pb.DeleteEfficiencyRuleResponse:
        await self._book.delete_rule(translate.to_meter_id(request))
        return pb.DeleteEfficiencyRuleResponse()
