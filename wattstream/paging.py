"""Page tokens: the last item of the page before, wrapped so that a caller neither reads nor breaks it."""

import base64
import json

from wattstream.errors import bad_field


def to_token(of: str, *last: str | int) -> str:
    """Return the token of the page that follows the item `last` of the list `of`, safe in a URL."""
    return base64.urlsafe_b64encode(json.dumps([of, *last]).encode()).decode().rstrip("=")


def from_token(of: str, token: str, *first: str | int) -> list[str | int]:
    """Return the item after which a page begins; `first`, which is before all others, for an empty token.

    Raises:
        InvalidRequestError: the token is not one of the list `of`.
    """
    if not token:
        return list(first)
    try:
        parts = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        name: str | None = parts[0]
        last: list[str | int] = parts[1:]
    except (ValueError, TypeError, LookupError):
        name, last = None, []
    if name != of or [type(part) for part in last] != [type(part) for part in first]:
        raise bad_field("page_token", "must be next_page_token of an earlier page of this list")
    return last


def page_size(asked: int, default: int, most: int) -> int:
    """Return how many items a page has: what was asked, or `default` where that is 0.

    Raises:
        InvalidRequestError: it is negative, or more than `most`.
    """
    if not 0 <= asked <= most:
        raise bad_field("page_size", f"is {asked}; must be 1 to {most}, or 0 for {default}")
    return asked or default
