"""When the primary is lost under load and its synchronous standby takes over, ..."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from haulier.config import Config
from haulier.domain.checks import Check, CheckState
from haulier.domain.errors import DatabaseUnavailable, ReadOnly
from haulier.domain.job import NewJob
from haulier.logs import redacted
from haulier.postgres.connection import connect, parse
from haulier.postgres.errors import translated
from haulier.postgres.scratch import url_of
from haulier.queue.health import overview
from haulier.queue.health.database_checks import THRESHOLDS, check_database
from tests import queueing
from tests.conftest import eventually, sql_on
from tests.failover.conftest import DATABASE, sql_of
from tests.rivals import beside
from tests.web import Server, gunicorn
from tests.worker.conftest import Ledger

CLIENTS = 6
KINDS = {"HAULIER_KINDS": "kinds_of_tests", "PYTHONPATH": str(Path(__file__).parents[1] / "worker")}
# From the loss to the promotion, as if somebody had to be sure first.
DECISION_SECONDS = 1.0


@dataclass
class Book:
    """What the clients were told, outside of Haulier. Units: when, by id, is of the monotonic clock."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)
    stopped: threading.Event = field(default_factory=threading.Event)

    def since(self, moment: float) -> list[float]:
        """Return when jobs were acknowledged after that moment, in order."""
        return sorted(when for when in list(self.acknowledged.values()) if when > moment)

    def post(self, url: str) -> None:
        """Post job after job, each until it is acknowledged, as a client with idempotency keys does."""
        with requests.Session() as session:
            while not self.stopped.is_set():
                key = str(uuid4())
                while (found := self._try(session, url, key)) is None and not self.stopped.wait(0.05):
                    pass
                if found is not None:
                    self.acknowledged[found] = time.monotonic()

    def _try(self, session: requests.Session, url: str, key: str) -> str | None:
        job, status = {"kind": "t.note", "payload": {}}, 0
        with suppress(requests.ConnectionError):
            answer = session.post(f"{url}/jobs", json=job, headers={"Idempotency-Key": key}, timeout=20)
            status = answer.status_code
        self.statuses.add(status)
        return str(answer.json()["id"]) if status in (200, 201) else None


@contextmanager
def load(server: Server) -> Iterator[Book]:
    """Post from several clients at once until it is left."""
    book = Book()
    with beside(*[partial(book.post, server.url)] * CLIENTS):
        try:
            yield book
        finally:
            book.stopped.set()


def ends(dsn: str) -> dict[str, str]:
    with closing(connect(dsn)) as conn:
        return dict(sql_on(conn)("SELECT id::text, status FROM haulier.jobs"))


def begun_since(ledger: Ledger, moment: float) -> float | None:
    """Return when the first handler began after that moment, if any did."""
    return min((entry.at for entry in ledger.entries("start") if entry.at > moment), default=None)


def test_no_acknowledged_job_is_lost_and_api_and_workers_go_on(pair, spawn_worker, ledger):
    with ExitStack() as stack:
        server = stack.enter_context(gunicorn(pair.dsn, eventually, **KINDS))
        workers = [
            spawn_worker(DATABASE_URL=pair.dsn, DATABASE_DIRECT_URL="", WORKER_THREADS=4, LOG_LEVEL="INFO")
            for _ in range(2)
        ]
        processes = (server.process.pid, server.children(), [worker.pid for worker in workers])
        with load(server) as book:
            eventually(lambda: len(book.acknowledged) >= 300 and ledger.entries("start"))

            pair.kill_primary()
            lost_at = time.monotonic()
            threading.Event().wait(DECISION_SECONDS)
            too_good = book.since(lost_at + 0.2)
            decided_at = time.monotonic()
            pair.promote()
            [api_back, *_] = eventually(lambda: book.since(decided_at))
            worker_back = eventually(lambda: begun_since(ledger, decided_at))
            eventually(lambda: len(book.since(decided_at)) >= 300)
        eventually(lambda: set(ends(pair.dsn).values()) == {"succeeded"})
        settled_at = time.monotonic()
        found = ends(pair.dsn)

        assert (server.process.pid, server.children(), [worker.pid for worker in workers]) == processes
        assert all(worker.popen.poll() is None for worker in workers)
    print(
        f"{len(book.acknowledged)} jobs acknowledged, {len(found)} there; after the decision to promote the API took"
        f" jobs again in {api_back - decided_at:.2f} s, a worker began one in {worker_back - decided_at:.2f} s; all had"
        f" ended {settled_at - max(book.acknowledged.values()):.2f} s after the last was taken"
    )
    assert too_good == []
    assert book.acknowledged.keys() - found.keys() == set()
    assert book.statuses <= {0, 200, 201, 503}
    assert api_back - decided_at < 5
    assert worker_back - decided_at < 5


def test_nothing_is_acknowledged_while_no_standby_confirms(pair):
    with closing(connect(pair.dsn)) as conn:
        overview.ping(conn)
    with closing(connect(pair.dsn.replace("read-write", "standby"))) as conn, pytest.raises(ReadOnly):
        overview.ping(conn)

    pair.lose_standby()
    began = time.monotonic()
    with closing(connect(pair.dsn)) as conn, pytest.raises(DatabaseUnavailable), translated():
        queueing.enqueue(conn, [NewJob("mail", {})])

    assert time.monotonic() - began < 10


def test_the_check_names_a_standby_whose_query_holds_a_snapshot(pair):
    # So many transactions are soon made.
    soon = {"standbys": replace(THRESHOLDS["standbys"], warn=20, bad=50)}
    with sql_of(pair.standby) as sql:
        for change in ("hot_standby_feedback = on", "wal_receiver_status_interval = '1 s'"):
            sql(f"ALTER SYSTEM SET {change}")
        sql("SELECT pg_reload_conf()")
    with closing(connect(pair.dsn)) as primary:

        def the_check() -> Check:
            [check] = check_database(primary, retention_days=30, thresholds=soon).checks
            return check

        def is_bad() -> bool:
            for _ in range(20):
                sql_on(primary)("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")
            return the_check().state is CheckState.BAD

        before = the_check()
        with sql_of(pair.standby, DATABASE) as sql:
            # It may still have to replay the schema.
            eventually(lambda: sql("SELECT to_regclass('haulier.job')") != [(None,)])
            sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM haulier.job")
            eventually(is_bad)
            during = the_check()

        assert before.state is CheckState.OK
        assert "holds a snapshot that is" in during.message
        assert "hot_standby_feedback = off" in (during.fix or "")
        eventually(lambda: the_check().state is CheckState.OK)


def test_the_address_of_several_hosts_is_taken_and_logged_without_its_password():
    forms = {
        "postgresql://app:swordfish@db-a:5432,db-b:5433/jobs?target_session_attrs=read-write": "db-a,db-b",
        "postgres://app:swordfish@/jobs?host=db-a,db-b&port=5432,5433&target_session_attrs=read-write": "db-a,db-b",
        "postgresql://app@/jobs?host=%2Frun%2Fa,%2Frun%2Fb&password=swordfish": "/run/a,/run/b",
    }
    for url, hosts in forms.items():
        settings = Config.from_env({"DATABASE_URL": url, "DATABASE_DIRECT_URL": url})
        parsed = parse(settings.database_url)

        assert (parsed["host"], parsed.get("port")) == (hosts, "5432,5433" if "5432" in url else None)
        assert settings.direct_url == url
        assert parse(url_of(url, "other")) == {**parsed, "dbname": "other"}
        assert "swordfish" not in redacted(f"cannot connect to {url}: no route")
        assert "swordfish" not in repr(settings)
