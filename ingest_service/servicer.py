"""IngestService: from messages to the domain and back."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from itertools import count, islice

import grpc.aio

from ingest_service.flat import unflatten
from ingest_service.ingestion import Ingestion, now_us
from ingest_service.readings import METER, VEHICLE
from ingest_service.streams import Acknowledgement, NamedBatch, Streams
from ingest_service.validation import Rejection
from wattstream.api.ingest.v1 import ingest_pb2
from wattstream.api.ingest.v1.ingest_pb2_grpc import IngestServiceServicer
from wattstream.errors import FieldViolation, InvalidRequestError, bad_field

_REJECTIONS_OF_AN_UPLOAD = 1000


class IngestServicer(IngestServiceServicer):
    """Serves IngestService."""

    def __init__(self, ingestion: Ingestion, streams: Streams) -> None:
        self._ingestion = ingestion
        self._streams = streams

    async def IngestReadings(
        self, request: ingest_pb2.IngestReadingsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> ingest_pb2.IngestReadingsResponse:
        verdict = await self._ingestion.take_now(request.readings)
        return ingest_pb2.IngestReadingsResponse(
            stored=verdict.stored,
            duplicates=verdict.duplicates,
            rejected=len(verdict.rejections),
            rejections=_rejected(verdict.rejections),
        )

    async def UploadReadings(
        self,
        request_iterator: AsyncIterator[ingest_pb2.UploadReadingsRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> ingest_pb2.UploadReadingsResponse:
        numbers = count()
        batches = (NamedBatch(next(numbers), request.readings) async for request in request_iterator)
        summary = ingest_pb2.UploadReadingsResponse()
        async with aclosing(self._streams.acknowledge(batches)) as settled:
            async for acknowledgements in settled:
                for acknowledgement in acknowledgements:
                    _add(summary, acknowledgement)
        return summary

    async def StreamReadings(
        self,
        request_iterator: AsyncIterator[ingest_pb2.StreamReadingsRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[ingest_pb2.StreamReadingsResponse]:
        batches = (NamedBatch(request.batch_id, request.readings) async for request in request_iterator)
        async with aclosing(self._streams.acknowledge(batches)) as settled:
            async for acknowledgements in settled:
                yield ingest_pb2.StreamReadingsResponse(acks=map(_ack, acknowledgements))

    async def IngestTelemetry(
        self, request: ingest_pb2.IngestTelemetryRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> ingest_pb2.IngestTelemetryResponse:
        received_at_us = now_us()
        reading = unflatten(request)
        verdict = await self._ingestion.take_now([reading])
        if verdict.rejections:
            raise InvalidRequestError(
                *(FieldViolation(r.field.rpartition(".")[2], r.message) for r in verdict.rejections)
            )
        kind = METER if reading.HasField("meter") else VEHICLE
        response = ingest_pb2.IngestTelemetryResponse(duplicate=verdict.duplicates > 0, kind=kind.number)  # type: ignore[arg-type]
        response.received_at.FromMicroseconds(received_at_us)
        return response


def _ack(acknowledgement: Acknowledgement) -> ingest_pb2.BatchAck:
    verdict = acknowledgement.verdict
    return ingest_pb2.BatchAck(
        batch_id=acknowledgement.batch_id,
        stored=verdict.stored,
        duplicates=verdict.duplicates,
        rejected=acknowledgement.readings if acknowledgement.refusal else len(verdict.rejections),
        rejections=_rejected(verdict.rejections),
        refusal=acknowledgement.refusal,
    )


def _add(summary: ingest_pb2.UploadReadingsResponse, acknowledgement: Acknowledgement) -> None:
    if acknowledgement.refusal:
        raise bad_field("readings", f"of message {acknowledgement.batch_id} {acknowledgement.refusal}")
    summary.batches += 1
    summary.stored += acknowledgement.verdict.stored
    summary.duplicates += acknowledgement.verdict.duplicates
    summary.rejected += len(acknowledgement.verdict.rejections)
    room = _REJECTIONS_OF_AN_UPLOAD - len(summary.rejections)
    summary.rejections.extend(
        _rejected(islice(acknowledgement.verdict.rejections, room), batch_index=acknowledgement.batch_id)
    )


def _rejected(rejections: Iterable[Rejection], batch_index: int = 0) -> list[ingest_pb2.RejectedReading]:
    return [
        ingest_pb2.RejectedReading(
            index=rejection.index,
            field=rejection.field,
            reason=rejection.reason,
            message=rejection.message,
            batch_index=batch_index,
        )
        for rejection in rejections
    ]
