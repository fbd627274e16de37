"""`haulier top`: figures, queues, workers and errors on one screen, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from haulier.cli.client.client_errors import Code, CommandError, code_of
from haulier.cli.commands import errors, queues, workers
from haulier.cli.commands.stats import now, series
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.parts.options import Duration
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Cell, Column, Styled, Terminal
from haulier.cli.terminal.screen import Block, Line, Screen, Table, can_draw, print_once
from haulier.client.api import Call
from haulier.domain.errors import HaulierError

Row = Callable[[Terminal, dict[str, Any]], list[Cell]]
# As wide as half a screen of 80 columns leaves.
STEPS = 30
SHORTEST = 0.5


@dataclass(frozen=True, slots=True)
class Page:
    """A table. By is what it can be sorted by, the first one first; larger values come first."""

    path: str
    columns: Sequence[Column]
    row: Row
    by: Sequence[str]


PAGES = {
    "1": Page(
        "/queues?limit=200", queues.COLUMNS, queues.queue_row, ("due", "running", "oldest_due_seconds", "deferred")
    ),
    "2": Page("/workers?limit=200", workers.COLUMNS, workers.worker_row, ("running", "threads")),
    "3": Page("/errors?span=1h&limit=200", errors.COLUMNS, errors.error_row, ("failed", "retried")),
}


@dataclass
class View:
    """What is shown. `sorted_by` is a place in what its page can be sorted by; trouble is why it is not fresh."""

    page: str = "1"
    sorted_by: int = 0
    is_paused: bool = False
    trouble: str = ""
    stats: dict[str, Any] | None = None
    items: Sequence[dict[str, Any]] = ()

    def press(self, key: str) -> None:
        """Do what the key says."""
        if key in PAGES:
            self.page, self.sorted_by, self.items = key, 0, ()
        elif key == "s":
            self.sorted_by = (self.sorted_by + 1) % len(PAGES[self.page].by)
        elif key == "p":
            self.is_paused = not self.is_paused

    @property
    def order(self) -> str:
        """Return what it is sorted by."""
        return PAGES[self.page].by[self.sorted_by]


@command("top", example="haulier top --every 5")
@click.option("--every", type=Duration(), default=2.0, show_default=True, metavar="S", help="Refresh interval.")
@pass_invocation
def top(invocation: Invocation, every: float) -> None:
    """Watch statistics, queues, workers and errors.

    Keys: q quits, p pauses, 1 shows queues, 2 workers, 3 errors, s changes the sort column. Without a terminal it
    prints once and ends. With --json it prints the answer of GET /stats.
    """
    view, terminal = View(), invocation.terminal
    if terminal.as_json:
        terminal.json(invocation.api.get("/stats").body)
    elif not can_draw(terminal):
        look(invocation, view)
        if view.trouble:
            raise CommandError(view.trouble, Code.UNREACHABLE)
        print_once(terminal, blocks(invocation, view, every))
    else:
        # Not while the screen is taken: it may warn, or ask for a passphrase.
        invocation.api.get("/stats")
        with Screen(terminal) as screen:
            _watch(invocation, view, screen, max(every, SHORTEST))


def _watch(invocation: Invocation, view: View, screen: Screen, every: float) -> None:
    following = time.monotonic()
    while True:
        if not view.is_paused and time.monotonic() >= following:
            look(invocation, view)
            following = time.monotonic() + every
        invocation.terminal.now = datetime.now(UTC)
        screen.draw(blocks(invocation, view, every))
        keys = screen.keys(every if view.is_paused else following - time.monotonic())
        if "q" in keys:
            return
        page = view.page
        for key in keys:
            view.press(key)
        if view.page != page:
            look(invocation, view)


def look(invocation: Invocation, view: View) -> None:
    """Ask for what the view shows. Raises: CommandError if the key is bad; other trouble is shown."""
    try:
        # Not said to be safe: the next turn asks again anyhow, and keys are not read meanwhile.
        view.stats = invocation.api.send(Call("GET", "/stats")).body
        view.items = invocation.api.send(Call("GET", PAGES[view.page].path)).body
        view.trouble = ""
    except HaulierError as error:
        if code_of(error) is Code.NO_KEY:
            raise
        view.trouble = str(error)


def blocks(invocation: Invocation, view: View, every: float) -> list[Block]:
    """Return what is drawn."""
    terminal, page = invocation.terminal, PAGES[view.page]
    how = "paused" if view.is_paused else f"every {words.duration(every)}"
    keys = "q quit  p pause  1 queues  2 workers  3 errors  s sort" if can_draw(terminal) else ""
    title = Styled("haulier top", "bold", "haulier top")
    head = Line((title, invocation.service.host, f"{terminal.now.astimezone():%H:%M:%S}", how, keys))
    trouble = [Line((Styled(view.trouble, "bold red", view.trouble),))] if view.trouble else []
    ordered = sorted(view.items, key=lambda item: item[view.order] or 0, reverse=True)
    table = Table(page.columns, [page.row(terminal, item) for item in ordered])
    about = Line((f"sorted by {view.order.replace('_', ' ')}",)) if len(ordered) > 1 else Line()
    return [head, *trouble, *(_figures(view.stats) if view.stats else []), about, table]


def _figures(stats: dict[str, Any]) -> list[Block]:
    # The last step has only begun.
    whole = stats["series"][-2:-1]
    done = [step["succeeded"] + step["failed"] + step["cancelled"] for step in whole]
    failed = sum(step["failed"] for step in whole)
    rates = f"done {words.number(sum(done))}/min   failed {words.share(failed, sum(done))}" if whole else ""
    lines = {name: words.spark(values[-STEPS - 1 : -1]) for name, values in series(stats).items() if name != "failures"}
    return [Line((now(stats), rates)), Line([f"{drawn} {name}" for name, drawn in lines.items()])]
