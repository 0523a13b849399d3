"""Signatures of webhooks, by the Standard Webhooks specification (https://www.standardwebhooks.com), version 1.0.0."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64

SECRET_RULE = (
    f"must be {_PREFIX} followed by the base64 of {_LEAST_BYTES} to {_MOST_BYTES} random bytes, or two such secrets "
    "with a space between them while one takes the place of the other"
)


def keys_of(secrets: str) -> tuple[bytes, ...]:
    """Return the keys of one secret, or of two with a space between them.

    Raises:
        ValueError: they are not such secrets; the message says what is, and nothing of them.
    """
    keys = tuple(_key_of(secret) for secret in secrets.split())
    if not 1 <= len(keys) <= 2:
        raise ValueError(SECRET_RULE)
    return keys


def signed_headers(keys: Sequence[bytes], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of an attempt: the id of the event, the time in Unix seconds, a signature for each key."""
    content = f"{event_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{_signature(key, content)}" for key in keys),
    }


def _key_of(secret: str) -> bytes:
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if encoded == secret or not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError(SECRET_RULE)
    return key


def _signature(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
