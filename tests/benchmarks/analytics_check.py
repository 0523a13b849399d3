"""What is measured has to be right: every vehicle has its meter to itself, so answers are the plain sums."""

import math
from collections.abc import Sequence
from datetime import timedelta

import grpc
import psycopg

from tests.benchmarks.analytics_clients import AC_SQL, DC_SQL
from tests.benchmarks.analytics_questions import ANALYTICS, DAY, Place, now, window
from tests.benchmarks.messages import device_id
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc

_VEHICLES = 10
_CORRELATIONS = (pb.CORRELATION_EXCLUSIVE_MINUTES, pb.CORRELATION_ASSIGNED_METER)


def check(place: Place, dsn: str, vehicles: Sequence[int], days: int) -> None:
    """Exit with a message if the answer for a vehicle, over 24 hours or all days, is not the sums of its readings."""
    end = now() - timedelta(minutes=10)  # before which everything has come
    with (
        grpc.insecure_channel(place.scene.addresses[ANALYTICS]) as channel,
        psycopg.connect(dsn, autocommit=True) as connection,
    ):
        stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
        for vehicle in vehicles[:_VEHICLES]:
            for length in {1, days}:
                key = (place.vehicle_keys[vehicle], place.meter_keys[vehicle])
                sums = [
                    connection.execute(sql, (of, end - length * DAY, end)).fetchone()
                    for sql, of in zip((DC_SQL, AC_SQL), key, strict=True)
                ]
                for correlation in _CORRELATIONS:
                    request = pb.GetVehiclePerformanceRequest(
                        vehicle_id=device_id("vehicle", vehicle), window=window(end, length), correlation=correlation
                    )
                    answer = stub.GetVehiclePerformance(request).performance
                    _compare(answer, *(float(str(row[0])) for row in sums if row))


def _compare(answer: pb.VehiclePerformance, dc: float, ac: float) -> None:
    close = math.isclose(answer.kwh_delivered_dc, dc, rel_tol=1e-9) and math.isclose(
        answer.kwh_consumed_ac, ac, rel_tol=1e-9
    )
    if not close or not answer.minutes_kept:
        raise SystemExit(f"an answer is not the sum of its readings, {dc} and {ac} kWh: {answer}")
