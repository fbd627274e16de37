"""How far something is, for whoever looks at stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from haulier.cli.terminal.output import Terminal
from haulier.cli.terminal.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """A bar on stderr, if somebody looks; elsewhere nothing. `total` is None if it is not known."""

    def __init__(self, terminal: Terminal, what: str, total: int | None) -> None:
        self._terminal, self._what, self._total = terminal, what, total
        self._progress: Progress | None = None

    def __enter__(self) -> Bar:
        """Draw it."""
        if self._terminal.is_watched:
            self._progress = self._drawn()
            self._progress.start()
            self._task = self._progress.add_task(visible(self._what), total=self._total, rate="")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Leave it as it is."""
        if self._progress:
            self._progress.stop()

    def at(self, done: int) -> None:
        """Say how far it is."""
        if self._progress:
            speed = self._progress.tasks[0].speed
            self._progress.update(self._task, completed=done, rate=f"{speed:,.0f}/s" if speed else "")

    def _drawn(self) -> Progress:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:,}" + ("/{task.total:,}" if self._total is not None else ""), markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            console=self._terminal.console(sys.stderr),
            redirect_stdout=False,
        )
