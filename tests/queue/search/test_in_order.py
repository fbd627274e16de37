"""The first jobs of a list in another order than newest first: it ..."""

from __future__ import annotations

from haulier.domain.job import WAITING_STATUSES, JobOrder, JobStatus
from haulier.queue import jobs as job_acts
from haulier.queue.search import in_order
from haulier.queue.search.in_order import list_in_order
from haulier.queue.search.job_filter import JobFilter
from tests.queue.plans import explain


def waits(queue: str, limit: int = 50) -> JobFilter:
    return JobFilter(statuses=WAITING_STATUSES, queues=[queue], limit=limit)


def test_brings_what_has_run_longest_first(conn, running, register, sql):
    other = register()
    jobs = [running(queue="mail"), running(queue="bulk", kind="image"), running(other, queue="mail")]
    for job, minutes in zip(jobs, (2, 9, 5), strict=True):
        sql("UPDATE haulier.job SET started_at = now() - make_interval(mins => %s) WHERE id = %s", minutes, job.id)

    def found(**wanted):
        runs = JobFilter(statuses=[JobStatus.RUNNING], **wanted)
        return [job.id for job in list_in_order(conn, runs, JobOrder.STARTED)]

    first, second, third = jobs[1].id, jobs[2].id, jobs[0].id
    assert found() == [first, second, third]
    assert found(limit=2) == [first, second]
    assert found(queues=["mail"]) == [second, third]
    assert found(kinds=["image"]) == [first]
    assert found(worker=other, limit=1) == found(kinds=["mail"], limit=1) == [second]
    assert found(queues=[]) == []


def test_ends_with_the_job_at_which_a_page_is_full_of_bytes(conn, enqueue, monkeypatch):
    monkeypatch.setattr(in_order, "PAGE_BYTES", 10_000)
    jobs = [enqueue(payload={"text": letter * 6_000}, queue="mail") for letter in "abc"]
    large = enqueue(payload={"text": "x" * 20_000}, queue="mail", priority=1)

    assert [job.id for job in list_in_order(conn, waits("mail"), JobOrder.DUE)] == [large.id]
    job_acts.cancel(conn, large.id)
    assert [job.id for job in list_in_order(conn, waits("mail"), JobOrder.DUE)] == [job.id for job in jobs[:2]]


def test_brings_no_job_of_no_queue(conn, enqueue):
    enqueue()

    assert list_in_order(conn, JobFilter(statuses=WAITING_STATUSES, queues=[]), JobOrder.DUE) == []


def test_leaves_out_what_changed_since_it_was_found(conn, enqueue, claim, monkeypatch):
    claimed, cancelled, moved, stays = (enqueue(queue="mail") for _ in range(4))
    look = in_order.upcoming

    def look_and_change(*args, **given):
        found = look(*args, **given)
        assert claim(queues=("mail",)).id == claimed.id
        job_acts.cancel(conn, cancelled.id)
        job_acts.change(conn, moved.id, job_acts.Changes.of(queue="other"))
        return found

    monkeypatch.setattr(in_order, "upcoming", look_and_change)

    assert [job.id for job in list_in_order(conn, waits("mail"), JobOrder.DUE)] == [stays.id]


def test_looks_each_job_up_by_its_id(conn, enqueue, sql):
    jobs = [enqueue(queue="mail").id for _ in range(300)]
    # Of a table that is empty all is read, once autovacuum has seen that it is.
    said = "SELECT id, gen_random_uuid(), 1, now() FROM haulier.job"
    sql(f"INSERT INTO haulier.progress (job_id, claim, done, at) {said}")
    sql("ANALYZE haulier.job, haulier.progress")
    given = {
        "kinds": None,
        "queues": ["mail"],
        "worker": None,
        "statuses": ["queued"],
        "limit": 21,
        "most_bytes": 9_999,
    }

    _, nodes = explain(conn, "list_in_order", {"ids": jobs[:20], **given})

    assert {(node["Relation Name"], node.get("Index Name")) for node in nodes if "Relation Name" in node} == {
        ("job", "job_pkey"),
        ("progress", "progress_pkey"),
    }
