"""The whole screen of a terminal, drawn again and again, and the keys that are pressed meanwhile.

Also the line on stderr that shows how far something is.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from haulier.cli.terminal.output import Cell, Column, Terminal, drawn_table, text_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

from typing import TYPE_CHECKING

from haulier.cli.terminal.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True, slots=True)
class Line:
    """A line of parts."""

    parts: Sequence[Cell] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


Block = Line | Table


def can_draw(terminal: Terminal) -> bool:
    """Return whether there is a whole screen, and keys."""
    return terminal.is_screen and sys.stdin.isatty()


def print_once(terminal: Terminal, blocks: Sequence[Block]) -> None:
    """Print what would be drawn, if there is no screen."""
    for block in blocks:
        if isinstance(block, Table):
            terminal.table(block.columns, block.rows)
        else:
            terminal.styled(*block.parts)


class Screen:
    """The screen, until left; then the terminal is as it was."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._input = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._input)

    def __enter__(self) -> Screen:
        """Take the screen."""
        from rich.live import Live

        self._console: Console = self._terminal.console(sys.stdout)
        self._live: Live = Live(console=self._console, screen=True, auto_refresh=False)
        # Keys one by one and unseen; Ctrl-C is a signal as ever.
        tty.setcbreak(self._input)
        self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Give it back."""
        self._live.stop()
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    def draw(self, blocks: Sequence[Block]) -> None:
        """Draw this, as much as there is room for."""
        from rich.console import Group, RenderableType

        drawn: list[RenderableType] = []
        for block in blocks:
            if isinstance(block, Table):
                rows = [list(row) for row in block.rows[: self._console.height]]
                drawn.append(drawn_table(block.columns, rows, self._console.width)[0])
            else:
                text = text_of("  ").join(text_of(part) for part in block.parts)
                text.no_wrap, text.overflow = True, "crop"
                drawn.append(text)
        self._live.update(Group(*drawn), refresh=True)

    def keys(self, seconds: float) -> str:
        """Return the keys that are pressed first, within this time; none for arrows and others of several bytes."""
        ready, _, _ = select.select([self._input], [], [], max(0.0, seconds))
        pressed = os.read(self._input, 64).decode(errors="replace") if ready else ""
        return "" if pressed.startswith("\x1b") else pressed


class Bar:
    """A bar on stderr, if somebody looks; elsewhere nothing. `total` is None if it is not known yet."""

    def __init__(self, terminal: Terminal, what: str, total: int | None) -> None:
        self._terminal, self._what, self._total = terminal, what, total
        self._progress: Progress | None = None

    def __enter__(self) -> Bar:
        """Draw it."""
        if self._terminal.is_watched:
            self._progress = self._drawn()
            self._progress.start()
            self._task = self._progress.add_task(visible(self._what), total=self._total, **_in_words(0, None, None))
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Leave it as it is."""
        if self._progress:
            self._progress.stop()

    def at(self, done: int, total: int | None = None) -> None:
        """Say how far it is, and of how many if that is known by now."""
        if self._progress:
            self._total = self._total if total is None else total
            words = _in_words(done, self._total, self._progress.tasks[0].speed)
            self._progress.update(self._task, completed=done, total=self._total, **words)

    def _drawn(self) -> Progress:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[percent]}", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            console=self._terminal.console(sys.stderr),
            redirect_stdout=False,
        )


def _in_words(done: int, total: int | None, speed: float | None) -> dict[str, Any]:
    """Return how far it is. There can be more than were counted: then nobody knows how many percent are done."""
    is_known = total is not None and done <= total
    return {
        "count": f"{done:,}" + (f"/{total:,}" if is_known else ""),
        "percent": f"{100 * done // total} %" if is_known and total else "",
        "rate": f"{speed:,.0f}/s" if speed else "",
    }
