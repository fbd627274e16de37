"""The interface of the queues that are measured."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.servers import Connection, Postgres, ask


class Watch(Protocol):
    """Watches a backlog from outside, by queries that stay cheap however long the backlog is."""

    def has_begun(self) -> bool:
        """Return whether the first job has been taken."""

    def has_ended(self) -> bool:
        """Return whether every job is settled, durably if the queue promises that."""


class Contender(Protocol):
    """A queue, with the settings under which it is measured."""

    @property
    def name(self) -> str:
        """Return the name of its rows in the results."""

    @property
    def label(self) -> str:
        """Return the label of its rows on the page."""

    @property
    def settings(self) -> Mapping[str, object]:
        """Return the settings to record beside the figures."""

    def missing(self) -> str | None:
        """Return what it lacks to run on this machine, in a few words; None when it lacks nothing."""

    def version(self) -> str:
        """Return its version."""

    def home(self, server: Postgres) -> AbstractContextManager[str]:
        """Yield the URL of a fresh database, or Redis, for its jobs."""

    def enqueue(self, url: str, jobs: int) -> float:
        """Enqueue no-op jobs in its fastest way, one call after the other; return how long that took, in seconds."""

    def fill(self, url: str, jobs: int) -> None:
        """Enqueue no-op jobs in any way; this is not measured."""

    def working(self, url: str) -> AbstractContextManager[list[subprocess.Popen[bytes]]]:
        """Yield running workers."""

    def watching(self, url: str) -> AbstractContextManager[Watch]:
        """Yield a watch over the jobs that are there now."""


class NotingContender(Contender, Protocol):
    """A contender whose handlers can note when they were started."""

    def working(
        self, url: str, *, notes: Path | None = None, log: Path | None = None
    ) -> AbstractContextManager[list[subprocess.Popen[bytes]]]:
        """Yield running workers, whose handlers write to the file `notes`."""


@dataclass
class TableWatch:
    """A watch over a table: it looks for the job that is claimed first and the job that is claimed last.

    Looking up a row by its key costs the same however many there are. Only when the last job is settled is the table
    queried for any other job.
    """

    conn: Connection
    is_waiting: str
    is_unsettled: str
    any_unsettled: str
    first: object
    last: object
    # How many queries it has made, each a transaction that is not of the workers.
    asked: int = 0

    def has_begun(self) -> bool:
        """Return whether the first job has been taken."""
        return self._is_empty(self.is_waiting, self.first)

    def has_ended(self) -> bool:
        """Return whether every job is settled."""
        return self._is_empty(self.is_unsettled, self.last) and self._is_empty(self.any_unsettled)

    def _is_empty(self, question: str, *parameters: object) -> bool:
        self.asked += 1
        return ask(self.conn, question, *parameters) is None


@dataclass(frozen=True)
class Table:
    """Where a contender keeps its jobs. All is SQL; `order` is that of its claims, the last of them unique.

    A job is unsettled as long as it is there, unless `unsettled` says more; `jobs` distinguishes them from other rows.
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
