"""What all commands share that list something: how many at most, and the table of what the API answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from haulier.cli.client.api import Query
from haulier.cli.client.pages import Listing
from haulier.cli.parts.invocation import Invocation
from haulier.cli.terminal.output import Cell, Column, Terminal

Row = Callable[[Terminal, dict[str, Any]], Sequence[Cell]]


def limit_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let the command take how many items to list."""
    return click.option(
        "--limit", type=click.IntRange(1), default=default, show_default=True, metavar="N", help="How many at most."
    )


def show_list(
    invocation: Invocation, path: str, columns: Sequence[Column], row: Row, *, limit: int, query: Query = ()
) -> None:
    """List the items at a path of the API. Raises: CommandError."""
    terminal = invocation.terminal
    items = Listing(invocation.api, path, query, limit=limit)
    terminal.show_each(items, lambda items: terminal.table(columns, [row(terminal, each) for each in items]))
    if end := items.looked_back_to:
        what = "jobs" if path == "/jobs" else "entries"
        terminal.warn(f"looked back to {end}; older {what} may match: --before {end}")
