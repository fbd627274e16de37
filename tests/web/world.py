"""One of everything that a form of the dashboard acts on, in each of two queues; and whether anything has changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg2.extensions import connection as Connection

from app.web.attention.notice import Level, Notice
from haulier.domain.api_key import Scope
from haulier.domain.claim import Failure
from haulier.domain.fingerprint import fingerprint, id_text
from haulier.domain.operation import OperationAction
from haulier.domain.outcome import Outcome
from haulier.domain.schedules.schedule import Rule
from haulier.queue import claims, jobs, search
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from haulier.queue.claims.rescue import bury
from haulier.queue.failures import error_groups
from haulier.queue.operations import operations
from haulier.queue.operations.operations import Order
from haulier.queue.schedules import schedules
from tests.web.jobs import EMAIL, claim, end, enqueue

Sql = Callable[..., list[tuple[Any, ...]]]

ERROR = "Refused: no luck"
ENDS = {
    "succeeded": Outcome.complete({"sent": True}),
    "failed": Outcome.fail_for_good(ERROR),
    "retrying": Outcome.fail(ERROR, delay=3600.0),
    "running": None,
}


@dataclass
class World:
    """What is there of one queue. `names` are what paths and forms name, by what they are called here."""

    queue: str
    names: dict[str, str] = field(default_factory=dict)

    def filled(self, text: str) -> str:
        return text.format_map(self.names)


def make_world(conn: Connection, queue: str) -> World:
    """Return what it has made in that queue: of jobs two in each state."""
    world = World(queue, {"queue": queue, "payload": json.dumps(EMAIL)})
    for twice in ("", "2"):
        for status, outcome in ENDS.items():
            world.names[f"{status}{twice}"] = str(_ended(conn, queue, outcome))
        for status in ("cancelled", "queued"):
            made = enqueue(conn, queue=queue, delay=timedelta(hours=1))
            world.names[f"{status}{twice}"] = str(made)
            if status == "cancelled":
                jobs.cancel(conn, made, actor="ops-anna")
    _around(conn, world)
    return world


def _ended(conn: Connection, queue: str, outcome: Outcome | None) -> UUID:
    made = enqueue(conn, queue=queue)
    _, [fence] = claim(conn, queue)
    if outcome is not None:
        is_error = outcome in (ENDS["failed"], ENDS["retrying"])
        end(conn, fence, outcome, Failure(fingerprint("send_email", ERROR), queue, ERROR) if is_error else None)
    return made


def _lost(conn: Connection, queue: str) -> UUID:
    """Return a worker of this queue that has let its lease run out."""
    worker = claims.register(conn, host="lost", pid=8, threads=1, queues=(queue,), lease_seconds=30)
    with conn.cursor() as cursor:
        # The others have run since before, so none has come in its place.
        cursor.execute("UPDATE haulier.worker SET started_at = now() - interval '90 minutes'")
        cursor.execute("UPDATE haulier.worker SET beat_at = now() - interval '1 hour' WHERE id = %s", (worker,))
    bury(conn)
    return worker


def _around(conn: Connection, world: World) -> None:
    queue, names = world.queue, world.names
    names["worker"] = str(claim(conn, queue)[0])
    lost = _lost(conn, queue)
    names["notice"] = Notice(Level.WARN, "", about={str(lost): 0}, rule="lost_workers").mark
    names["error"] = id_text(fingerprint("send_email", ERROR).id)
    error_groups.mute(
        conn, fingerprint("send_email", ERROR).id, datetime.now(UTC) + timedelta(hours=1), actor="ops-anna"
    )
    rule = Rule({"kind": "send_email", "payload": dict(EMAIL), "queue": queue}, cron="0 3 * * *")
    names["schedule"] = f"nightly-{queue}"
    schedules.put_schedule(conn, names["schedule"], rule, retention_days=30)
    names["seen"] = schedules.get_schedule(conn, names["schedule"]).updated_at.isoformat()
    key, _ = api_keys.create(conn, NewKey(f"key-{queue}", [Scope.READ]), actor="ops-anna")
    names["key"], names["mark"] = key.id, key.secret_mark
    other, _ = api_keys.create(conn, NewKey(f"other-{queue}", [Scope.READ]), actor="ops-anna")
    names["other"] = other.id
    wanted = Order(OperationAction.CANCEL, search.JobFilter(queues=[queue], kinds=["send_email"]), [queue])
    for name, seconds in (("waits", 3600.0), ("ended", 3600.0), ("due", 0.0)):
        started = Order(wanted.action, wanted.filter, wanted.queues, starts_in_seconds=seconds)
        names[name] = str(operations.start(conn, started, as_of=None, actor="ops-anna").id)
    operations.cancel_operation(conn, UUID(names["ended"]), actor="ops-anna")
    seen = operations.preview(conn, Order(OperationAction.RETRY, search.JobFilter(queues=[queue])))
    names["as_of"] = seen.as_of.isoformat()


def digests(sql: Sql, *beside: str) -> dict[str, str]:
    """Return the hash of what is in each table of Haulier, but these."""
    names = sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition ORDER BY relname"
    )
    each = [
        f"SELECT '{name}', md5(coalesce(string_agg(t::text, ' ' ORDER BY t::text), '')) FROM haulier.{name} t"
        for (name,) in names
        if name not in beside
    ]
    return {str(name): str(found) for name, found in sql(" UNION ALL ".join(each))}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the tables that are not as they were."""
    return {name for name in before if before[name] != after[name]}


@contextmanager
def locked(conn: Connection, table: str) -> Iterator[None]:
    """Let nobody read the table during the block."""
    with conn.cursor() as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE haulier.{table} IN ACCESS EXCLUSIVE MODE")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
