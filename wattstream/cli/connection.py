"""What every command that speaks to the services has in common: where they are, and how failure is told."""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import click

from wattstream.client import Client, ServiceError
from wattstream.client.sync import ANALYTICS, INGEST, STATE

FAILED, OUT_OF_REACH, INTERRUPTED, BROKEN_PIPE = 1, 3, 130, 141

EPILOG = (
    "Exit codes: 0 done; 1 failed (not found, rejected, refused); 2 wrong usage; 3 the service cannot be reached or is "
    "away for now; 130 interrupted. Services are found by option, else by WATTSTREAM_CLIENT_INGEST, "
    "WATTSTREAM_CLIENT_STATE and WATTSTREAM_CLIENT_ANALYTICS, else those that `wattstream up` runs on this machine, "
    f"else at {INGEST}, {STATE} and {ANALYTICS}."
)


class Addresses(NamedTuple):
    """Where the services are, host:port each."""

    ingest: str
    state: str
    analytics: str


class Running(Protocol):
    """What is asked of an instance that `wattstream up` runs on this machine."""

    @property
    def data_dir(self) -> Path:
        """Its data folder, which names it."""

    @property
    def ingest(self) -> str:
        """Address of its ingest service."""

    @property
    def state(self) -> str:
        """Address of its state service."""

    @property
    def analytics(self) -> str:
        """Address of its analytics service."""


def find(
    needed: Sequence[str],
    options: Mapping[str, str | None],
    data_dir: Path | None,
    environ: Mapping[str, str],
    running: Callable[[], Sequence[Running]],
) -> Addresses:
    """Return where the services are: by option, environment, running instance, default, in this order.

    What runs on this machine matters only where the address of a service that is `needed` is not given; a data folder
    that is named goes before the environment.

    Raises:
        click.UsageError: the instance asked for does not run, or several run and none was asked for.
    """
    given = {
        name: options.get(name) or (None if data_dir else environ.get(f"WATTSTREAM_CLIENT_{name.upper()}"))
        for name in Addresses._fields
    }
    instance = None if all(given[name] for name in needed) else _choose(running(), data_dir)
    fallback = Addresses(instance.ingest, instance.state, instance.analytics) if instance else _DEFAULT
    return Addresses(*(given[name] or getattr(fallback, name) for name in Addresses._fields))


_DEFAULT = Addresses(INGEST, STATE, ANALYTICS)


def _choose(running: Sequence[Running], data_dir: Path | None) -> Running | None:
    if data_dir is not None:
        wanted = data_dir.resolve()
        for instance in running:
            if Path(instance.data_dir).resolve() == wanted:
                return instance
        raise click.UsageError(f"nothing runs on the data folder {data_dir}; start it with `wattstream up`")
    if len(running) > 1:
        folders = ", ".join(str(instance.data_dir) for instance in running)
        raise click.UsageError(f"several instances run here; choose one with --data-dir: {folders}")
    return running[0] if running else None


def with_client(*needed: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a client as its first argument, the options that say where the services are, and its exit codes.

    `needed` names the services that the command speaks to.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @click.option("--ingest", metavar="HOST:PORT", callback=_address, help="Address of the ingest service.")
        @click.option("--state", metavar="HOST:PORT", callback=_address, help="Address of the state service.")
        @click.option("--analytics", metavar="HOST:PORT", callback=_address, help="Address of the analytics service.")
        @click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            help="Data folder of the running instance to speak to, where several run on this machine.",
        )
        @functools.wraps(function)
        def run(*args: Any, data_dir: Path | None, **kwargs: Any) -> None:
            options = {name: kwargs.pop(name) for name in Addresses._fields}
            # gRPC tells on standard error, in its own words, what becomes an error or a new attempt here.
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            addresses = find(needed, options, data_dir, os.environ, _running)
            with exit_codes(), Client(*addresses) as client:
                function(client, *args, **kwargs)

        return run

    return decorate


@contextmanager
def exit_codes() -> Iterator[None]:
    """End the process with one clear line and the right code, whatever happens inside."""
    try:
        yield
        sys.stdout.flush()
    except ServiceError as error:
        click.echo(f"Error: {describe(error)}", err=True)
        sys.exit(OUT_OF_REACH if _is_away(error) else FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # What is still buffered has no reader, and must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def describe(error: ServiceError) -> str:
    """Return `error` in one line for people."""
    message = " ".join(error.message.split())
    if not _is_away(error):
        return message
    if error.reason:
        return f"the service is away for now: {message}"
    return f"cannot reach the service: {message} (is `wattstream up` running?)"


def _is_away(error: ServiceError) -> bool:
    return error.transient or error.code == "DEADLINE_EXCEEDED"


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit():
        raise click.BadParameter(f"{value!r} is not host:port", ctx, param)
    return value


def _running() -> Sequence[Running]:
    from wattstream import instances  # noqa: PLC0415 - only where nothing else says where the services are

    return instances.running()
