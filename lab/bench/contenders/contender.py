"""What the measures may ask of whoever is measured."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.servers import Connection, Postgres, ask


class Watch(Protocol):
    """Looks at a backlog from outside, with questions that cost little however long it is."""

    def has_begun(self) -> bool:
        """Tell whether the first job has been taken."""

    def has_ended(self) -> bool:
        """Tell whether every job is settled, durably where that is promised."""


class Contender(Protocol):
    """A queue, with the settings it is measured under."""

    @property
    def name(self) -> str:
        """Return what its rows are called in the results."""

    @property
    def label(self) -> str:
        """Return what they are called on the page."""

    @property
    def settings(self) -> Mapping[str, object]:
        """Return what is recorded beside the figures."""

    def missing(self) -> str | None:
        """Return what it lacks to run on this machine, in a few words; None when it can."""

    def version(self) -> str:
        """Return its version."""

    def home(self, server: Postgres) -> AbstractContextManager[str]:
        """Give the URL of a fresh place for its jobs."""

    def enqueue(self, url: str, jobs: int) -> float:
        """Enqueue no-op jobs the fastest way it has, one call after the other; return the seconds that took."""

    def fill(self, url: str, jobs: int) -> None:
        """Enqueue no-op jobs by whatever way; what follows is what is measured."""

    def working(self, url: str) -> AbstractContextManager[list[subprocess.Popen[bytes]]]:
        """Give running workers."""

    def watching(self, url: str) -> AbstractContextManager[Watch]:
        """Give a watch over the jobs that are there now."""


class NotingContender(Contender, Protocol):
    """One whose handlers can note when they were started."""

    def working(
        self, url: str, *, notes: Path | None = None, log: Path | None = None
    ) -> AbstractContextManager[list[subprocess.Popen[bytes]]]:
        """Give running workers, whose handlers write to the file `notes`."""


@dataclass
class TableWatch:
    """A watch over a table, by the job that is claimed first, the one claimed last, and then all of them.

    Looking up two rows by their keys costs the same all along; only when the last job is gone is the table asked
    whether it holds any other.
    """

    conn: Connection
    is_waiting: str
    is_unsettled: str
    any_unsettled: str
    first: object
    last: object
    # How many questions it has put, each a transaction that is not the workers'.
    asked: int = 0

    def has_begun(self) -> bool:
        """Tell whether the first job has been taken."""
        return self._is_empty(self.is_waiting, self.first)

    def has_ended(self) -> bool:
        """Tell whether every job is settled."""
        return self._is_empty(self.is_unsettled, self.last) and self._is_empty(self.any_unsettled)

    def _is_empty(self, question: str, *parameters: object) -> bool:
        self.asked += 1
        return ask(self.conn, question, *parameters) is None


@dataclass(frozen=True)
class Table:
    """Where a contender keeps its jobs. Shape: all is SQL; `order` is that of its claims, the last of them unique.

    A job is unsettled as long as it is there, unless `unsettled` says more; `jobs` tells them from rows of other sorts.
    """

    name: str
    order: Sequence[str]
    waiting: str
    unsettled: str = "true"
    jobs: str = "true"

    def watch(self, conn: Connection) -> TableWatch:
        """Return a watch over the jobs that are there now."""
        one = f"SELECT 1 FROM {self.name} WHERE {self.jobs} AND id = %s"
        backwards = [each.removesuffix(" DESC") if each.endswith(" DESC") else f"{each} DESC" for each in self.order]
        return TableWatch(
            conn,
            is_waiting=f"{one} AND {self.waiting}",
            is_unsettled=f"{one} AND {self.unsettled}",
            any_unsettled=f"SELECT 1 FROM {self.name} WHERE {self.jobs} AND {self.unsettled} LIMIT 1",
            first=self._first_by(conn, self.order),
            last=self._first_by(conn, backwards),
        )

    def _first_by(self, conn: Connection, order: Sequence[str]) -> object:
        return ask(conn, f"SELECT id FROM {self.name} WHERE {self.jobs} ORDER BY {', '.join(order)} LIMIT 1")
