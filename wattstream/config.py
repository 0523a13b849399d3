"""Configuration: one frozen dataclass a service, read from WATTSTREAM_* environment variables.

A field `batch_readings` of the area `ingest` is read from WATTSTREAM_INGEST_BATCH_READINGS; a field declared `shared`
from WATTSTREAM_BATCH_READINGS, by every service that has it. A variable that nobody knows is refused, so that a
misspelt one is not silently a default.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

PREFIX = "WATTSTREAM_"
AREAS = ("INGEST", "STATE", "ANALYTICS", "CLIENT", "TEST")
SHARED = frozenset({"POSTGRES_DSN", "REDIS_URL", "LOG_LEVEL", "DATA_DIR"})
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")

Config = TypeVar("Config")


class ConfigError(Exception):
    """The environment holds a variable that is unknown or whose value cannot be used; the message names it."""


def setting(  # noqa: PLR0913 - keyword-only, one a property of a setting
    default: Any,
    help: str,  # noqa: A002 - reads well at the call
    *,
    shared: bool = False,
    secret: bool = False,
    at_least: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a field of a configuration dataclass: its default, what it is for, and what it may be."""
    metadata = {"help": help, "shared": shared, "secret": secret, "at_least": at_least, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def load(cls: type[Config], area: str, environ: Mapping[str, str]) -> Config:
    """Read a configuration of the dataclass `cls` from `environ`; what is not set has its default.

    Raises:
        ConfigError: a WATTSTREAM_ variable is unknown, or has a value that cannot be used.
    """
    fields = {variable_name(field, area): field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in environ:
        if name.startswith(PREFIX) and name not in fields and not _belongs_elsewhere(name, area):
            raise ConfigError(f"{name}: unknown variable; known are {', '.join(sorted(fields))}")
    values = {field.name: _parse(name, field, environ[name]) for name, field in fields.items() if name in environ}
    return cls(**values)


def variable_name(field: "dataclasses.Field[Any]", area: str) -> str:
    """Return the environment variable that sets `field`."""
    return f"{PREFIX}{'' if field.metadata['shared'] else area.upper() + '_'}{field.name.upper()}"


def describe(config: Any, area: str) -> str:
    """Return the configuration as JSON, by variable name, with secrets masked."""
    shown = {
        variable_name(field, area): _mask(getattr(config, field.name))
        if field.metadata["secret"]
        else getattr(config, field.name)
        for field in dataclasses.fields(config)
    }
    return json.dumps(shown, indent=2)


def explain(cls: type[Config], area: str) -> str:
    """Return a line of help for each variable: its name, what it is for, its default."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return "\n".join(f"  {variable_name(f, area)}: {f.metadata['help']} (default: {f.default})" for f in fields)


def _belongs_elsewhere(name: str, area: str) -> bool:
    rest = name.removeprefix(PREFIX)
    return rest in SHARED or any(rest.startswith(other + "_") for other in AREAS if other != area.upper())


def _parse(name: str, field: "dataclasses.Field[Any]", text: str) -> Any:
    kind: Any = field.type if isinstance(field.type, type) else type(field.default)
    try:
        value: Any = _parse_bool(text) if kind is bool else kind(text)
    except ValueError:
        raise ConfigError(f"{name}: {text!r} is not of type {kind.__name__}") from None
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{name}: {text!r} is not a finite number")
    at_least, choices = field.metadata["at_least"], field.metadata["choices"]
    if at_least is not None and not value >= at_least:
        raise ConfigError(f"{name}: {text} is too small; the least is {at_least:g}")
    if choices and value not in choices:
        raise ConfigError(f"{name}: {text!r} is not one of {', '.join(choices)}")
    return value


def _parse_bool(text: str) -> bool:
    lowered = text.lower()
    if lowered not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError(text)
    return lowered in ("true", "1", "yes")


def _mask(secret: str) -> str:
    """Show the address of a URL without its password and options; of anything else nothing.

    The path of a web address may be as secret as a password: it is not shown either.
    """
    scheme, separator, rest = secret.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return "***" if secret else ""
    if scheme.lower() in ("http", "https"):
        address, slash, _ = rest.partition("/")
        return f"{scheme}://***" if "@" in rest or "?" in address else f"{scheme}://{address}{slash and '/***'}"
    authority, question, options = rest.partition("?")
    if "@" in options:  # then the question mark may be a part of the password
        return f"{scheme}://***"
    credentials, at, address = authority.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}{at}{address}{'?***' if question else ''}"
