"""Which release of the web processes and of the workers came when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import utc
from haulier.version import team_release, version

# A request or a heartbeat waits for it, once in a process.
NOTE_SECONDS = 0.3
# A chart with more marks cannot be read.
MOST = 50


@dataclass(frozen=True, slots=True)
class Deployment:
    """A release that replaced another one. `process` is web or worker; `at` is its first start."""

    process: str
    release: str
    at: datetime


def note_deployment(conn: Connection, release: str | None = None, *, worker: UUID | None = None) -> None:
    """Note that this worker, or else a web process, of this release has started, unless the last one had it too.

    The default is the commit that the platform has deployed, or else the version of this program.
    """
    process, release = "web" if worker is None else "worker", team_release(release) or version()
    rows(conn, "note_deployment", seconds=NOTE_SECONDS, process=process, release=release, worker=worker)


def list_deployments(conn: Connection) -> Sequence[Deployment]:
    """Return the deployments of the last 31 days, the newest first; at most MOST."""
    found = rows(conn, "list_deployments", limit=MOST)
    return [Deployment(row["process"], row["release"], utc(row["at"])) for row in found]
