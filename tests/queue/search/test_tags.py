"""A job's tags: enqueue ..."""

from __future__ import annotations

from itertools import product

from haulier.domain.job import NewJob
from haulier.queue import search
from haulier.queue.jobs.draft import Receipt
from tests import queueing

TAGS = ["vip", "NULL", "a, b", '"{}"', "back\\slash\t\n", "\r\\N", "größe 😀", " ", "%s %(x)s 'q'"]


def test_stores_tags_as_they_are_by_each_way(conn):
    for key, number in product((None, "order"), (1, 3)):
        others = [NewJob("mail", {}, tags=[]), NewJob("mail", {})][: number - 1]
        new = NewJob("mail", {}, tags=TAGS, idempotency_key=key and f"{key}-{number}")
        [receipt, *rest] = queueing.enqueue(conn, [new, *others])
        assert receipt.job.tags == TAGS
        assert search.get(conn, receipt.job.id).read().tags == TAGS
        assert [each.job.tags for each in rest] == [()] * (number - 1)


def test_stores_nothing_for_no_tags(conn, sql):
    queueing.enqueue(conn, [NewJob("mail", {}, tags=[])])
    queueing.enqueue(conn, [NewJob("mail", {}, tags=())] * 2)

    assert sql("SELECT tags FROM haulier.job") == [(None,)] * 3


def test_calls_other_tags_under_a_known_key_a_mismatch(conn):
    first, same, other, none = (
        queueing.enqueue(conn, [NewJob("mail", {}, idempotency_key="order-7", tags=tags)])[0].receipt
        for tags in (["a", "b"], ["b", "a"], ["a"], [])
    )

    assert [first, same, other, none] == [Receipt.CREATED, Receipt.REPLAYED, Receipt.MISMATCH, Receipt.MISMATCH]


def test_reads_an_array_that_does_not_begin_at_1(conn, claim, sql):
    [[job_id]] = sql("INSERT INTO haulier.job (kind, payload, tags) VALUES ('mail', '{}', '[5:6]={a,b}') RETURNING id")

    assert search.get(conn, job_id).tags == ["a", "b"]
    assert claim().tags == ["a", "b"]
