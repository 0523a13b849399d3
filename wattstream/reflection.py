"""Server reflection as v1, which tools ask for first, and as v1alpha, which older ones know.

The grpcio-reflection package has v1alpha only. The two differ in nothing but the name, so v1 is served from the same
messages, and described by the same file under the other name.
"""

from collections.abc import Iterable

import grpc
import grpc.aio
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

_V1 = "grpc.reflection.v1.ServerReflection"


def enable(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Let `server` describe the services of these full names, and reflection itself."""
    _describe_v1()
    names = (*services, reflection.SERVICE_NAME, _V1)
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_V1, {"ServerReflectionInfo": handler}),))


def _describe_v1() -> None:
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    renamed = text_format.MessageToString(file).replace("v1alpha", "v1")
    v1 = text_format.Parse(renamed, FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(v1.SerializeToString())
