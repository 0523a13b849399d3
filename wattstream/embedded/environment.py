"""What programs see of the environment of their supervisor."""

import os

_NEEDED_BY_ANY = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


def plain() -> dict[str, str]:
    """Return the environment of a program that is configured by other means: no locale, no user's settings."""
    return {name: os.environ[name] for name in _NEEDED_BY_ANY if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"}
