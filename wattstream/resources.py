"""Reads the SQL and Lua files that lie beside the code, from a checkout or an installed wheel."""

from functools import cache
from importlib.resources import files


@cache
def read(package: str, name: str) -> str:
    """Return the text of `name` in `package`, for example `read("analytics_service.sql", "keys.sql")`.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return files(package).joinpath(name).read_text(encoding="utf-8")
