"""What is shown on standard error while a command runs: a bar or a counter on a terminal, only notes elsewhere."""

import sys
from types import TracebackType
from typing import Self

import click
from rich import progress
from rich.console import Console

from wattstream.cli.tally import Tally


class Display:
    """Follows a run whose size, such as the bytes of a file, is known or not (None)."""

    def __init__(self, size: int | None) -> None:
        bar = (progress.BarColumn(), progress.TaskProgressColumn()) if size else (progress.SpinnerColumn(),)
        text = progress.TextColumn("{task.fields[tally]}", markup=False)
        console = Console(stderr=True)
        self._shown = console.is_terminal
        self._bar = progress.Progress(*bar, text, console=console, disable=not self._shown, refresh_per_second=5)
        self._task = self._bar.add_task("", total=size, tally="")
        self._last_note = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, tally: Tally, done: int = 0) -> None:
        """Show how far the run is."""
        if self._shown:
            self._bar.update(self._task, completed=done, tally=str(tally))

    def note(self, text: str) -> None:
        """Say something, once, above the bar."""
        if text == self._last_note:
            return
        self._last_note = text
        if self._shown:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text, file=sys.stderr)
