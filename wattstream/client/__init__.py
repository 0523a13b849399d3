"""The client SDK: readings in, state and performance out, without a word of gRPC in the caller's code."""

from wattstream.client.errors import FieldViolation, ServiceError
from wattstream.client.retry import Retry
from wattstream.client.stream import Acknowledged
from wattstream.client.sync import Client

__all__ = ["Acknowledged", "Client", "FieldViolation", "Retry", "ServiceError"]
