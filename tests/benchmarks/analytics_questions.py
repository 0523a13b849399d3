"""The rows of the table: what is asked, of whom, and by how many clients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message

from tests.benchmarks.analytics_bare import METHOD as SELECT_1
from tests.benchmarks.analytics_clients import CLIENTS, REFERENCE, Answered, Asker
from tests.benchmarks.analytics_clients import Reference as ReferenceClients
from tests.benchmarks.analytics_stage import BARE, Scene
from tests.benchmarks.messages import device_id
from wattstream.api.analytics.v1 import analytics_pb2 as pb

ANALYTICS = "analytics"
LONGEST_DAYS = 30
DAY = timedelta(days=1)
_SERVICE = "/wattstream.api.analytics.v1.AnalyticsService/"


@dataclass(frozen=True)
class Question:
    """A row.

    Attributes:
        name: its name in the results.
        title: its name in the table.
        of: who is asked: ANALYTICS, BARE or REFERENCE.
        method: the full name of the RPC.
        request: what is asked about the vehicle of some number, with a window that ends at some time.
        clients: how many ask at once.
        least_days: how much history it needs.
        about_fleet: it is about the whole fleet, so it is asked a few times instead of once a vehicle.
    """

    name: str
    title: str
    of: str
    method: str = ""
    request: Callable[[int, datetime], Message] = lambda vehicle, end: pb.GetVehiclePerformanceRequest()
    clients: int = CLIENTS
    least_days: int = 1
    about_fleet: bool = False

    def alone(self) -> "Question":
        """Return the same, asked by one client."""
        return replace(self, name=f"{self.name}_alone", clients=1)


@dataclass(frozen=True)
class Place:
    """Where questions are asked, who asks, and about which fleet: the keys of all devices, by number."""

    scene: Scene
    asker: Asker
    reference: ReferenceClients
    vehicle_keys: Sequence[int]
    meter_keys: Sequence[int]

    def ask(self, question: Question, vehicles: Sequence[int], end: datetime) -> Answered:
        """Ask a question about some vehicles, by number, with windows that end at `end`."""
        if question.of == REFERENCE:
            keys = [(self.vehicle_keys[vehicle], self.meter_keys[vehicle]) for vehicle in vehicles]
            return self.reference.ask(question.clients, [(*pair, end - DAY, end) for pair in keys])
        if question.about_fleet:
            vehicles = vehicles[: min(2 * question.clients, 3 + question.clients)]
        requests = [question.request(vehicle, end).SerializeToString() for vehicle in vehicles]
        return self.asker.ask(question.clients, self.scene.addresses[question.of], question.method, requests)


def now() -> datetime:
    """Return the present UTC minute."""
    return datetime.now(UTC).replace(second=0, microsecond=0)


def window(end: datetime, days: int) -> pb.TimeWindow:
    """Return the window of so many days until `end`."""
    message = pb.TimeWindow()
    message.start.FromDatetime(end - days * DAY)
    message.end.FromDatetime(end)
    return message


def questions(days: int) -> list[Question]:
    """Return the rows that so many days of history allow."""
    return [question for question in _QUESTIONS if question.least_days <= days]


def _performance(
    days: int, correlation: pb.Correlation.ValueType = pb.CORRELATION_EXCLUSIVE_MINUTES
) -> Callable[[int, datetime], Message]:
    return lambda vehicle, end: pb.GetVehiclePerformanceRequest(
        vehicle_id=device_id("vehicle", vehicle), window=window(end, days), correlation=correlation
    )


def _series(vehicle: int, end: datetime) -> Message:
    return pb.QueryPerformanceSeriesRequest(
        vehicle_id=device_id("vehicle", vehicle), window=window(end, 7), granularity=pb.GRANULARITY_HOUR
    )


_GET, _QUERY = f"{_SERVICE}GetVehiclePerformance", f"{_SERVICE}QueryPerformanceSeries"
_LIST, _SUMMARISE = f"{_SERVICE}ListVehiclePerformance", f"{_SERVICE}GetFleetSummary"
_FIRST = (
    Question("select_1", "SELECT 1", BARE, SELECT_1, _performance(1)),
    Question("reference", "reference: two sums, 24 h", REFERENCE),
    Question("exclusive_24h", "24 h, exclusive", ANALYTICS, _GET, _performance(1)),
)
_ASSIGNED = Question("assigned_24h", "24 h, assigned", ANALYTICS, _GET, _performance(1, pb.CORRELATION_ASSIGNED_METER))
_RANKING = Question(
    "ranking",
    "ranking, 24 h",
    ANALYTICS,
    _LIST,
    lambda *_: pb.ListVehiclePerformanceRequest(page_size=100),
    about_fleet=True,
)
_SUMMARY = Question(
    "summary", "fleet summary, 24 h", ANALYTICS, _SUMMARISE, lambda *_: pb.GetFleetSummaryRequest(), about_fleet=True
)
_QUESTIONS = (
    *_FIRST,
    _ASSIGNED,
    Question(
        "exclusive_30d", "30 days, exclusive", ANALYTICS, _GET, _performance(LONGEST_DAYS), least_days=LONGEST_DAYS
    ),
    Question("series_week", "7 days, hourly series", ANALYTICS, _QUERY, _series, least_days=7),
    _RANKING,
    _SUMMARY,
    *(question.alone() for question in (*_FIRST, _RANKING, _SUMMARY)),
)
BESIDE_INGEST = (*_FIRST, _ASSIGNED)
