"""What an id of a device looks like, in every message of the contract."""

import re

ID_RULE = "must be 1 to 64 characters of A-Z a-z 0-9 . _ : / -"

_ID = re.compile(r"[A-Za-z0-9._:/-]{1,64}")


def is_id(text: str) -> bool:
    """Tell whether `text` is an id as devices may have it."""
    return _ID.fullmatch(text) is not None
