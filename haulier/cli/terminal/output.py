"""What a command prints: answers to stdout, all else to stderr, each for whoever reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from haulier.cli.terminal import words
from haulier.cli.terminal.visible import json_line, visible

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table
    from rich.text import Text

# As the shell says of a program that wrote to a pipe which nobody reads any more.
READER_LEFT = 141
# Wider than any table: nothing is cut if nobody looks at a screen.
ENDLESS = 100_000
# Of a text: before its lines; and how much of it is shown.
INDENT, LONGEST = 12, 2000
# Between two columns; and of a long one's text the least that says something.
GAP, LEAST_LONG = 2, 20


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. A long one is cut to what the screen has left."""

    name: str
    is_number: bool = False
    is_long: bool = False


def columns_of(names: str, *, numbers: str = "", long: str = "") -> list[Column]:
    """Return a column for each name; the names are divided by commas. `long` is the one to be cut."""
    return [Column(name, name in numbers.split(", "), name == long) for name in names.split(", ")]


@dataclass(frozen=True, slots=True)
class Styled:
    """A cell with a colour. `plain` takes its place if there are no colours, for programs to find."""

    text: str
    style: str
    plain: str


Cell = str | Styled


class Terminal:
    """The streams of a command. `color` is auto, always or never."""

    def __init__(self, *, as_json: bool, color: str, is_quiet: bool, no_color: bool) -> None:
        self.as_json, self.is_quiet = as_json, is_quiet
        for stream in (sys.stdout, sys.stderr):
            # What an old terminal cannot show must not end the command.
            with suppress(AttributeError, ValueError):
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        self.is_screen = sys.stdout.isatty()
        self._color, self._no_color = color, no_color
        self.now = datetime.now(UTC)

    def has_color(self, stream: IO[str]) -> bool:
        """Return whether to write colours there."""
        return self._color == "always" or (self._color == "auto" and stream.isatty() and not self._no_color)

    @property
    def is_watched(self) -> bool:
        """Return whether somebody looks at stderr and wants to know how far things are."""
        return sys.stderr.isatty() and not self.is_quiet

    def console(self, stream: IO[str]) -> Console:
        """Return what draws there. Nothing that it is given may be a str: it would look for markup in it."""
        from rich.console import Console

        colors = self.has_color(stream)
        return Console(
            file=stream,
            force_terminal=stream.isatty() or colors,
            no_color=not colors,
            color_system="auto" if stream.isatty() and colors else "standard" if colors else None,
            width=None if stream.isatty() else ENDLESS,
            markup=False,
            highlight=False,
            emoji=False,
        )

    # To stdout ------------------------------------------------------------------------------------------------------

    def line(self, text: str = "") -> None:
        """Print a line of text."""
        self._write(f"{visible(text)}\n")

    def json(self, value: Any) -> None:
        """Print a value for programs, on one line."""
        self._write(f"{json_line(value)}\n")

    def raw(self, text: str) -> None:
        """Print text of our own as it is."""
        self._write(text)

    def show(self, value: Any, people: Callable[[Any], None]) -> None:
        """Print the value as JSON if that is asked for, else let it be shown to people."""
        if self.as_json:
            self.json(value)
        else:
            people(value)

    def show_each(self, values: Iterable[Any], people: Callable[[list[Any]], None]) -> None:
        """Print the values a line each as they come, if JSON is asked for, else let all be shown to people."""
        if not self.as_json:
            found = list(values)
            people(found)
            if self.is_screen and not found:
                self.note("there is none")
            return
        for value in values:
            self.json(value)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
        """Print a table: cut to the screen, or whole and in plain text if there is none."""
        cells = [list(row) for row in rows]
        if not self.is_screen and not self.has_color(sys.stdout):
            self._write(_plain_table(columns, cells))
            return
        console = self.console(sys.stdout)
        table, width = drawn_table(columns, cells, console.width)
        # An id is of no use in part: on a narrow screen the terminal wraps the lines.
        console.width = max(width, console.width)
        with self._piped():
            console.print(table)

    def styled(self, *parts: Cell) -> None:
        """Print a line of parts, with their colours if there are any."""
        if not self.is_screen and not self.has_color(sys.stdout):
            self._write("  ".join(_plain(part) for part in parts).rstrip() + "\n")
            return
        from rich.text import Text

        with self._piped():
            self.console(sys.stdout).print(Text("  ").join(text_of(part) for part in parts), soft_wrap=True)

    def block(self, name: str, text: str) -> None:
        """Print a text of several lines below each other; the screen of a person gets a part of a long one."""
        is_cut = self.is_screen and len(text) > LONGEST
        for place, line in enumerate((text[:LONGEST] if is_cut else text).split("\n")):
            self.line(f"{'' if place else name:<{INDENT}}{line}")
        if is_cut:
            self.line(f"{'':{INDENT}}… use --json to see all of it")

    def state(self, name: str) -> Cell:
        """Return the cell of a state."""
        shown, style = words.STATES.get(name, (name, "default"))
        return Styled(shown, style, name)

    def when(self, text: str | None) -> str:
        """Return a time of an answer: for people how long ago, elsewhere as it is."""
        return words.when(text, self.now) if self.is_screen else text or words.NOTHING

    def _write(self, text: str) -> None:
        with self._piped():
            sys.stdout.write(text)
            sys.stdout.flush()

    def _piped(self) -> _Piped:
        return _Piped()

    # To stderr ------------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Say how things go, unless nobody wants to know."""
        if not self.is_quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Say what must be known."""
        print(f"haulier: {visible(text)}", file=sys.stderr, flush=True)

    def trace(self, text: str) -> None:
        """Show a line of what is sent or answered."""
        print(visible(text), file=sys.stderr, flush=True)


class _Piped:
    """Ends the program quietly if whoever read its output has left."""

    def __enter__(self) -> None:
        """Do nothing yet."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, BrokenPipeError):
            # Else Python would write there again, as it ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            raise SystemExit(READER_LEFT)


def _plain(cell: Cell) -> str:
    return visible(cell.plain if isinstance(cell, Styled) else cell)


def _plain_table(columns: Sequence[Column], rows: list[list[Cell]]) -> str:
    table = [[column.name for column in columns], *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(columns))]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def drawn_table(columns: Sequence[Column], rows: list[list[Cell]], screen: int) -> tuple[Table, int]:
    """Return the table and its width."""
    from rich.table import Table

    texts = [[text_of(cell) for cell in row] for row in rows]
    widths = [max([len(column.name), *(row[place].cell_len for row in texts)]) for place, column in enumerate(columns)]
    excess = sum(widths) + GAP * (len(widths) - 1) - screen
    for place, column in enumerate(columns):
        if column.is_long and excess > 0:
            widths[place] = max(LEAST_LONG, widths[place] - excess)
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        justify: JustifyMethod = "right" if column.is_number else "left"
        table.add_column(column.name, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for row in texts:
        table.add_row(*row)
    return table, sum(widths) + GAP * len(widths)


def text_of(cell: Cell) -> Text:
    """Return the cell as rich draws it, which looks for no markup in a Text."""
    from rich.text import Text

    if isinstance(cell, Styled):
        return Text(visible(cell.text), style=cell.style)
    return Text(visible(cell))
