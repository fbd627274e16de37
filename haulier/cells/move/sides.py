"""The two databases of a move: the source, which is to close, and the target, which is to open.

Where a move stands follows from the two databases only, so that a mover can be killed at any moment:

| on the source | on the target | stage |
|---|---|---|
| no publication | | none |
| publication `haulier_move_…` | closed, subscribed | copying, ready |
| the same, closed | closed, subscribed | closed: it may be opened again |
| publication renamed to `haulier_moved_…`, closed | closed | confirmed: the target has all of it |
| the same | open | moved |

A side is closed by a setting of its database, which a crash does not undo and which libpq's `read-write` respects.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum

from haulier.domain.errors import ConfigError, DatabaseUnavailable, HaulierError, reason
from haulier.postgres.connection import address_for_server, connect, is_pooled, parse, to_primary
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection, Row, copy, ddl, rows

# How long a mover waits for the lock of another one: a killed mover's lasts until its server has noticed.
LOCK_SECONDS = 3.0
LOOK_SECONDS = 0.05
# For the target's server to connect to the source.
REACH_SECONDS = 30.0


class MoveRefused(HaulierError):
    """The cell cannot be moved like this; the message says what to change."""


class Stage(StrEnum):
    """Where a move stands."""

    NONE = "none"
    COPYING = "copying"
    READY = "ready"
    CLOSED = "closed"
    CONFIRMED = "confirmed"
    MOVED = "moved"


@dataclass(slots=True, eq=False)
class Side:
    """One database of a move. `setting` is the name of the setting with its address."""

    conn: Connection
    setting: str
    system: str
    oid: int
    name: str
    is_standby: bool
    is_closed: bool
    has_schema: bool
    publications: list[str]
    slots: list[str]
    subscriptions: list[str]

    def reload(self) -> None:
        """Read again what the database says."""
        [found] = rows(self.conn, "read_side")
        for name, value in found.items():
            setattr(self, name, value)

    def close(self) -> None:
        """Let no new session write, for as long as nobody opens it; returns once that is durable."""
        ddl(self.conn, "close_side", identifier=self.name)
        self.is_closed = True

    def open(self) -> None:
        """Let new sessions write again."""
        ddl(self.conn, "open_side", identifier=self.name)
        self.is_closed = False

    def subscribe(self, name: str, address: str, options: str) -> None:
        """Subscribe to the publication at the address, inside a transaction: the server's log gets no password."""
        copy(self.conn, "send_address", [rf"\\x{address_for_server(address).encode().hex()}"], seconds=REACH_SECONDS)
        rows(self.conn, "subscribe", seconds=REACH_SECONDS, name=name, options=options)

    def end_sessions(self, deadline: float) -> None:
        """End the sessions that began before this call: later ones read what is set now. Raises: MoveRefused."""
        before = [found["pid"] for found in rows(self.conn, "sessions_inside")]
        # Never set: a wait on it is a sleep.
        pause = threading.Event()
        while before:
            rows(self.conn, "end_sessions", pids=before)
            inside = {found["pid"] for found in rows(self.conn, "sessions_inside")}
            before = [pid for pid in before if pid in inside]
            if before and time.monotonic() > deadline:
                raise MoveRefused(
                    f"server process {before[0]} in the database of {self.setting} does not end: end its program"
                )
            pause.wait(LOOK_SECONDS if before else 0)


@dataclass(slots=True)
class Move:
    """A source and a target. Without a target, that one could not be reached."""

    source: Side
    target: Side | None
    why_no_target: str = ""

    @property
    def link(self) -> str:
        """Return the name of the publication, its slot and its subscription, which names the target."""
        if self.target is not None:
            return f"haulier_move_{self.target.system}_{self.target.oid}"
        # An abort that was interrupted has dropped the publication, but not the slot, which keeps WAL.
        names = [*self.source.publications, *self.source.slots]
        return next((name.replace("_moved_", "_move_") for name in names), "haulier_move_")

    @property
    def confirmed_link(self) -> str:
        """Return the name that the publication has once the target has everything."""
        return self.link.replace("_move_", "_moved_")

    @property
    def is_published(self) -> bool:
        """Return whether the source gives its changes to this target."""
        return self.link in self.source.publications

    @property
    def is_confirmed(self) -> bool:
        """Return whether the source is closed, and the target has been said to have all of it."""
        return self.source.is_closed and self.confirmed_link in self.source.publications

    @property
    def is_moved(self) -> bool:
        """Return whether the target was opened: then the source must never open again."""
        return self.is_confirmed and self.target is not None and not self.target.is_closed

    def slot(self) -> Row | None:
        """Return what the source keeps for the target: {is_active, is_lost, lag_bytes}; None if it keeps nothing."""
        found = rows(self.source.conn, "slot", link=self.link)
        return found[0] if found else None

    def reload(self) -> None:
        """Read again what both databases say."""
        for side in filter(None, (self.source, self.target)):
            side.reload()

    def both(self) -> tuple[Side, Side]:
        """Return source and target. Raises: DatabaseUnavailable if the target could not be reached."""
        if self.target is None:
            raise DatabaseUnavailable(self.why_no_target)
        return self.source, self.target

    def begin(self) -> None:
        """Read both sides, and return unless the source is, or was, moved to another target. Raises: MoveRefused."""
        self.reload()
        # The target is closed as a source, which looks like a target that is still to open.
        if self.is_confirmed and self.target and self.target.is_closed and self.target.publications:
            raise MoveRefused("the cell was moved to the target, and from there on: the source stays closed")
        names = [*self.source.publications, *self.source.slots]
        if others := [name for name in names if name not in (self.link, self.confirmed_link)]:
            raise MoveRefused(
                f"a publication or replication slot {others[0]} says that the cell is moved to another database: name"
                " that one in TARGET_DATABASE_URL, or, if it is gone, drop the publication and the slot of this name"
            )


@contextmanager
def move_of(source: str, target: str, *, locked: bool = True, needs_target: bool = True) -> Iterator[Move]:
    """Give the move between the databases at these addresses; `locked` keeps other movers out.

    Raises:
        MoveRefused: Both addresses lead to one database, to a standby or a pool, or another mover is at work.
        DatabaseUnavailable: One cannot be reached; the target only if it is needed.
    """
    _check_hosts(source, target)
    with ExitStack() as opened, translated():
        first = _open(opened, source, "DATABASE_URL")
        try:
            move = Move(first, _open(opened, target, "TARGET_DATABASE_URL"))
        except DatabaseUnavailable as error:
            if needs_target:
                raise
            move = Move(first, None, str(error))
        if move.target and (move.target.system, move.target.oid) == (first.system, first.oid):
            raise MoveRefused("TARGET_DATABASE_URL leads to the database of DATABASE_URL: name the new server's")
        for side in filter(None, (first, move.target)) if locked else ():
            _lock(side)
        yield move


def _check_hosts(source: str, target: str) -> None:
    """Return unless an address may lead to the other side. Raises: ConfigError."""
    places = [parse(source), parse(target, "TARGET_DATABASE_URL")]
    hosts = [
        {(host, place.get("port", ""), place.get("dbname", "")) for host in place.get("host", "").split(",")}
        for place in places
    ]
    if any("," in place.get("host", "") for place in places) and hosts[0] & hosts[1]:
        raise ConfigError(
            "DATABASE_URL and TARGET_DATABASE_URL name the same host: for this command DATABASE_URL names only the"
            " servers that give the cell, and TARGET_DATABASE_URL only those that get it"
        )


def _open(opened: ExitStack, url: str, setting: str) -> Side:
    try:
        conn = opened.enter_context(closing(connect(to_primary(url), application_name="haulier cell move")))
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"the database of {setting} cannot be reached: {reason(error)}") from error
    if is_pooled(conn):
        raise MoveRefused(f"{setting} leads to a connection pool: name the server itself")
    rows(conn, "mover_session")
    side = Side(conn, setting, **rows(conn, "read_side")[0])
    if side.is_standby:
        raise MoveRefused(f"{setting} leads to a standby: name the primary")
    return side


def _lock(side: Side) -> None:
    deadline, pause = time.monotonic() + LOCK_SECONDS, threading.Event()
    while not rows(side.conn, "lock_side")[0]["is_mine"]:
        if time.monotonic() > deadline:
            pids = ", ".join(str(found["pid"]) for found in rows(side.conn, "holder_of_side"))
            raise MoveRefused(
                f"another `haulier cell move` works on the database of {side.setting} (server process {pids}): wait,"
                " or, if its program is gone, run this again in 20 s"
            )
        pause.wait(LOOK_SECONDS)
