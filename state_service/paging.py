"""Page tokens: the last id of the page before, wrapped so that a caller neither reads nor breaks it."""

import base64
import binascii
import re

from state_service.states import Kind
from wattstream.errors import bad_field

_MARK = "1"  # the version of the form
_UNWRAPPED = re.compile(r"1 (vehicle|meter) ([A-Za-z0-9._:/-]{1,64})")


def to_token(kind: Kind, last_id: str) -> str:
    """Return the token of the page that follows `last_id`, of characters that need no escaping in a URL."""
    return base64.urlsafe_b64encode(f"{_MARK} {kind.value} {last_id}".encode()).decode().rstrip("=")


def from_token(kind: Kind, token: str) -> str:
    """Return the id after which the page begins; empty for an empty token, which is the first page's.

    Raises:
        InvalidRequestError: the token is not one of this list's.
    """
    if not token:
        return ""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    match = _UNWRAPPED.fullmatch(text)
    if match is None or match[1] != kind.value or to_token(kind, match[2]) != token:
        raise bad_field("page_token", "must be next_page_token of an earlier page of this list")
    return match[2]
