"""Page tokens: the last item of the page before, wrapped so that a caller neither reads nor breaks it."""

import base64
import json

from wattstream.errors import InvalidRequestError, bad_field

_LONGEST_TOKEN = 400


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
    if len(token) > _LONGEST_TOKEN:
        raise _refused()
    try:
        parts = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except ValueError:
        parts = None
    if not isinstance(parts, list) or [type(part) for part in parts] != [type(part) for part in (of, *first)]:
        raise _refused()
    name, *last = parts
    if name != of or not all(map(_is_sound, last)):
        raise _refused()
    return last


def _refused() -> InvalidRequestError:
    return bad_field("page_token", "must be next_page_token of an earlier page of this list")


def _is_sound(part: str | int) -> bool:
    """Tell whether a database can take `part`: a token that a caller has made up may hold anything."""
    return abs(part) < 2**63 if isinstance(part, int) else part.isascii() and part.isprintable()


def page_size(asked: int, default: int, most: int) -> int:
    """Return how many items a page has: what was asked, or `default` where that is 0.

    Raises:
        InvalidRequestError: it is negative, or more than `most`.
    """
    if not 0 <= asked <= most:
        raise bad_field("page_size", f"is {asked}; must be 1 to {most}, or 0 for {default}")
    return asked or default
