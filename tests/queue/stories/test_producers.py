"""Where the due jobs of a queue come from, counted among as many as are cheap to read: it ..."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.job import NewJob
from haulier.queue import jobs
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from haulier.queue.stories import producers
from haulier.queue.stories.producers import KEY, KIND, TAG, Producer, count_producers
from tests import queueing
from tests.queue import plans

LATER = timedelta(hours=1)


def test_counts_the_keys_tags_and_kinds_of_due_jobs(conn: Connection) -> None:
    key, _ = api_keys.create(conn, NewKey("globex", [Scope.ENQUEUE]), actor=None)
    for number in range(6):
        sent = NewJob("sync", {}, queue="mail", tags=["acme"] if number < 3 else [], idempotency_key=f"order-{number}")
        jobs.enqueue_one(conn, jobs.draft(sent, scope=key.id))
    # The last two came by INSERT; others are not due, or elsewhere.
    queueing.enqueue(conn, [NewJob("sync", {}, queue="mail"), NewJob("send", {}, queue="mail", priority=9)])
    queueing.enqueue(conn, [NewJob("sync", {}, queue="mail", delay=LATER), NewJob("sync", {}, queue="other")])

    found = count_producers(conn, "mail")

    assert (found.jobs, found.looked_up, found.is_part) == (8, 8, False)
    assert set(found.found) == {
        *(Producer(KEY, key.id, 0.75), Producer(KEY, "", 0.25)),
        *(Producer(TAG, "acme", 0.375), Producer(TAG, "", 0.625)),
        *(Producer(KIND, "sync", 0.875), Producer(KIND, "send", 0.125)),
    }
    assert [each.share for each in found.found] == sorted((each.share for each in found.found), reverse=True)
    assert count_producers(conn, "nowhere").found == []


def test_reads_no_more_jobs_than_it_may(conn: Connection, sql, monkeypatch: pytest.MonkeyPatch) -> None:
    queueing.enqueue(conn, [NewJob("sync", {}, queue="mail", priority=number % 3) for number in range(900)])
    sql("ANALYZE haulier.job")
    monkeypatch.setattr(producers, "MOST_JOBS", 50)
    sent = {"queue": "mail", "suspect": False, "limit": 5, "most": 50, "look": 1.0, "most_rows": 50, "sample": 100}

    _, nodes = plans.explain(conn, "count_producers", sent)
    found = count_producers(conn, "mail")

    read = [node for node in nodes if node.get("Relation Name") == "job"]
    assert {node.get("Index Name") for node in read} == {"job_claim"}
    assert (found.jobs, found.looked_up, found.is_part) == (50, 50, True)


def test_calls_a_key_unknown_that_is_not_among_those_used_last(conn: Connection, sql) -> None:
    key, _ = api_keys.create(conn, NewKey("globex", [Scope.ENQUEUE]), actor=None)
    jobs.enqueue_one(conn, jobs.draft(NewJob("sync", {}, queue="mail", idempotency_key="order-1"), scope=key.id))
    sql(
        "INSERT INTO haulier.api_key (id, name, hash, scopes, last_used_at)"
        " SELECT 'key' || n, 'key ' || n, sha256(n::text::bytea), '{read}', now() FROM generate_series(1, 50) AS n"
    )

    assert Producer(KEY, "", 1.0) in count_producers(conn, "mail").found
