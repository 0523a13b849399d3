"""Pictures of answers: the options --plot, --html and --png, and what becomes of them."""

import functools
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.text import Text

from wattstream.report.content import FleetReport, VehicleReport


class Pictures(NamedTuple):
    """Which pictures are asked for."""

    plot: bool
    html: Path | None
    png: Path | None

    def __bool__(self) -> bool:
        return self.plot or self.html is not None or self.png is not None


def with_pictures(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options, and the argument pictures."""
    path = click.Path(dir_okay=False, path_type=Path)

    @click.option("--plot", is_flag=True, help="Draw a picture in the terminal.")
    @click.option("--html", type=path, metavar="FILE", help="Write a report: one page that needs nothing else.")
    @click.option("--png", type=path, metavar="FILE", help="Write a picture.")
    @functools.wraps(function)
    def run(*args: Any, plot: bool, html: Path | None, png: Path | None, **kwargs: Any) -> None:
        if plot and kwargs.get("as_json"):
            raise click.UsageError("give --plot or --json, not both")
        if (html or png) and find_spec("matplotlib") is None:
            raise click.ClickException("--html and --png need matplotlib: pip install 'wattstream[report]'")
        function(*args, pictures=Pictures(plot, html, png), **kwargs)

    return run


def write(report: VehicleReport | FleetReport, pictures: Pictures) -> None:
    """Write the files that are asked for, and say so."""
    if pictures.html is None and pictures.png is None:
        return
    from wattstream.report import page, render  # noqa: PLC0415 - loads matplotlib

    if pictures.html is not None:
        text = page.vehicle(report) if isinstance(report, VehicleReport) else page.fleet(report)
        _write(pictures.html, text.encode())
    if pictures.png is not None:
        _write(pictures.png, render.png(report))


def plot(report: VehicleReport | FleetReport) -> None:
    """Draw in the terminal, as wide as it is."""
    from wattstream.report import terminal  # noqa: PLC0415 - loads numpy

    console = Console()
    colour = console.color_system is not None
    draw = terminal.vehicle if isinstance(report, VehicleReport) else terminal.fleet
    show(draw(report, console.width, colour=colour), console)  # type: ignore[arg-type]


def show(lines: Iterable[Text], console: Console | None = None) -> None:
    """Print lines; those that are longer than the terminal is wide go on in the next."""
    console = console or Console()
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    click.echo(f"Wrote {path}", err=True)
