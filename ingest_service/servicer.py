"""IngestService: from messages to the domain and back.

Messages of readings stay bytes here: they are decoded together with others, when they are stored.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from itertools import islice
from typing import Any

import grpc
import grpc.aio

from ingest_service.batches import Verdict
from ingest_service.flat import unflatten
from ingest_service.framing import STREAM, UPLOAD
from ingest_service.ingestion import Ingestion, now_us
from ingest_service.limits import name_of
from ingest_service.readings import METER, VEHICLE
from ingest_service.streams import Streams
from ingest_service.validation import Rejection
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.errors import FieldViolation, InvalidRequestError, bad_field

SERVICE = pb.DESCRIPTOR.services_by_name["IngestService"].full_name

_REJECTIONS_OF_AN_UPLOAD = 1000
Context = grpc.aio.ServicerContext[Any, Any]


class IngestServicer:
    """Serves IngestService."""

    def __init__(self, ingestion: Ingestion, streams: Streams) -> None:
        self._ingestion = ingestion
        self._streams = streams

    async def IngestReadings(self, request: bytes, context: Context) -> pb.IngestReadingsResponse:
        verdict = await self._ingestion.take(request, _peer(context))
        return pb.IngestReadingsResponse(
            stored=verdict.stored,
            duplicates=verdict.duplicates,
            rejected=len(verdict.rejections),
            rejections=_rejected(verdict.rejections),
        )

    async def UploadReadings(self, requests: AsyncIterator[bytes], context: Context) -> pb.UploadReadingsResponse:
        summary = pb.UploadReadingsResponse()
        async with aclosing(self._streams.verdicts(requests, UPLOAD, _peer(context))) as settled:
            async for verdicts in settled:
                for verdict in verdicts:
                    _add(summary, verdict)
        return summary

    async def StreamReadings(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[pb.StreamReadingsResponse]:
        async with aclosing(self._streams.verdicts(requests, STREAM, _peer(context))) as settled:
            async for verdicts in settled:
                yield pb.StreamReadingsResponse(acks=map(_ack, verdicts))

    async def IngestTelemetry(self, request: pb.IngestTelemetryRequest, context: Context) -> pb.IngestTelemetryResponse:
        received_at_us = now_us()
        reading = unflatten(request)
        data = pb.IngestReadingsRequest(readings=[reading]).SerializeToString()
        verdict = await self._ingestion.take(data, _peer(context))
        if verdict.rejections:
            raise InvalidRequestError(
                *(FieldViolation(r.field.rpartition(".")[2], r.message) for r in verdict.rejections)
            )
        kind = METER if reading.HasField("meter") else VEHICLE
        response = pb.IngestTelemetryResponse(duplicate=verdict.duplicates > 0, kind=kind.number)  # type: ignore[arg-type]
        response.received_at.FromMicroseconds(received_at_us)
        return response


def add_to_server(servicer: IngestServicer, server: grpc.aio.Server) -> None:
    """Register the servicer, with the messages of readings as bytes."""
    handlers = {
        "IngestReadings": grpc.unary_unary_rpc_method_handler(
            servicer.IngestReadings, None, pb.IngestReadingsResponse.SerializeToString
        ),
        "UploadReadings": grpc.stream_unary_rpc_method_handler(
            servicer.UploadReadings, None, pb.UploadReadingsResponse.SerializeToString
        ),
        "StreamReadings": grpc.stream_stream_rpc_method_handler(
            servicer.StreamReadings, None, pb.StreamReadingsResponse.SerializeToString
        ),
        "IngestTelemetry": grpc.unary_unary_rpc_method_handler(
            servicer.IngestTelemetry,
            pb.IngestTelemetryRequest.FromString,
            pb.IngestTelemetryResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _peer(context: Context) -> str:
    return name_of(list(context.peer_identities() or ()), context.peer())


def _ack(verdict: Verdict) -> pb.BatchAck:
    return pb.BatchAck(
        batch_id=verdict.batch_id,
        stored=verdict.stored,
        duplicates=verdict.duplicates,
        rejected=verdict.readings if verdict.refusal else len(verdict.rejections),
        rejections=_rejected(verdict.rejections),
        refusal=verdict.refusal,
    )


def _add(summary: pb.UploadReadingsResponse, verdict: Verdict) -> None:
    if verdict.refusal:
        raise bad_field("readings", f"of message {summary.batches} {verdict.refusal}")
    room = _REJECTIONS_OF_AN_UPLOAD - len(summary.rejections)
    summary.rejections.extend(_rejected(islice(verdict.rejections, room), batch_index=summary.batches))
    summary.batches += 1
    summary.stored += verdict.stored
    summary.duplicates += verdict.duplicates
    summary.rejected += len(verdict.rejections)


def _rejected(rejections: Iterable[Rejection], batch_index: int = 0) -> list[pb.RejectedReading]:
    return [
        pb.RejectedReading(
            index=rejection.index,
            field=rejection.field,
            reason=rejection.reason,
            message=rejection.message,
            batch_index=batch_index,
        )
        for rejection in rejections
    ]
