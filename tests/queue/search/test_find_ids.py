"""Looks of operations, looks in other orders, and by the beginning of an id. It ..."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from uuid import UUID, uuid4

from haulier.domain.job import WAITING_STATUSES, JobOrder, JobStatus, NewJob
from haulier.domain.operation import OperationAction
from haulier.postgres.statements import transaction
from haulier.postgres.values import array
from haulier.queue import jobs as job_acts
from haulier.queue.operations.operation_step import Step, locking
from haulier.queue.operations.stored_filter import as_stored, from_stored
from haulier.queue.search import id_prefix, in_order
from haulier.queue.search.bounded_scan import sent_with
from haulier.queue.search.find_ids import count_by_kind, find_jobs
from haulier.queue.search.id_prefix import id_range, jobs_by_prefix
from haulier.queue.search.in_order import list_in_order
from haulier.queue.search.job_filter import JobFilter
from tests import queueing
from tests.conftest import sql_on
from tests.queue.plans import buffers, copy_to_history, explain
from tests.queue.search.crowd import FILTERS, LOOKS, matching, set_look


def found_in_steps(conn, wanted, limit):
    """Return the ids of all jobs that match, found as an operation finds them: this many at most in a step."""
    asked, ids = JobFilter(**wanted, limit=limit), []
    while True:
        found = find_jobs(conn, asked, most_bytes=10**9)
        assert len(found.jobs) <= limit
        ids += [job.id for job in found.jobs]
        if found.after is None:
            return ids
        asked = replace(asked, after=found.after)


def test_finds_each_job_once_and_counts_its_kind_in_however_many_looks(crowd, monkeypatch):
    conn, many = crowd
    wrong = []
    for rows, seconds, tagged, limit in LOOKS:
        set_look(monkeypatch, rows, seconds, tagged)
        for wanted in FILTERS[::3]:
            if found_in_steps(conn, wanted, limit) != [job.id for job in matching(many, wanted)]:
                wrong.append((wanted, rows))
    monkeypatch.undo()
    for wanted in FILTERS[::3]:
        kinds = [job.kind for job in matching(many, wanted)]
        counted = count_by_kind(conn, JobFilter(**wanted), seconds=60.0)
        if (counted.is_whole, counted.jobs) != (True, {kind: kinds.count(kind) for kind in kinds}):
            wrong.append((wanted, counted))

    assert wrong == []


def test_ends_with_the_job_that_reaches_some_bytes(conn, enqueue):
    jobs = [enqueue(payload={"text": "".join(map(str, range(n, n + 2_000)))}).id for n in range(3)]

    one = find_jobs(conn, JobFilter(), most_bytes=1)
    two = find_jobs(conn, JobFilter(), most_bytes=12_000)

    assert [job.id for job in one.jobs] == jobs[:1:-1]
    assert one.after is not None
    assert len(two.jobs) == 2


MANY_WAIT = """
    INSERT INTO haulier.job (kind, queue, payload) SELECT 'noop', 'bulk', '{}' FROM generate_series(1, 3000)
"""
READ = "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relid = 'haulier.job'::regclass"


def test_reads_few_more_jobs_than_it_returns_if_all_match(conn, sql):
    sql(MANY_WAIT)
    sql("ANALYZE haulier.job")
    for wanted in ({}, {"queues": ["bulk"]}, {"attempts_min": 0}):
        with transaction(conn):
            found = find_jobs(conn, JobFilter(**wanted, limit=300), most_bytes=10**9)
            [(read,)] = sql(READ)
        assert len(found.jobs) == 300
        assert read < 1000


def test_reads_no_more_of_a_flood_that_no_statistics_know_of(conn, sql):
    sql("TRUNCATE haulier.job")
    for _ in range(10):
        sql(MANY_WAIT)
    wanted = replace(from_stored({"queue": ["bulk"]}, OperationAction.CANCEL, None), limit=1000)
    begun = find_jobs(conn, wanted, most_bytes=10**9).after
    sent = {**sent_with(wanted, begun, None, 1001), "limit": 1000, "most_bytes": 10**9}

    _, nodes = explain(conn, "find_jobs", sent)

    assert buffers(nodes) < 400


TAKEN = """
    INSERT INTO haulier.operation (
        action, filter, as_of, unseen, doubted, cluster, matched, matched_is, starts_at, next_at, status, worked_by)
    SELECT %s, '{"all": true}', now(), '{}', 'empty', system_identifier, 0, 'exact', now(), now(), 'running', %s
    FROM pg_control_system()
    RETURNING id
"""


def test_finds_what_an_operation_then_acts_on(crowd):
    conn, many = crowd
    wrong, me, sql = [], uuid4(), sql_on(conn)
    for action, queues in product(OperationAction, (None, ["bulk"])):
        [(operation,)] = sql(TAKEN, str(action), me)
        for given in FILTERS:
            wanted = from_stored(as_stored(JobFilter(**given)), action, queues)
            asked, ids = sent_with(wanted, None, None, 0), [job.id for job in many]
            step = Step(operation, action, asked, {}, 0, me, 8.0, ids, None, None, None, None, is_walked=True)
            found = find_jobs(conn, replace(wanted, limit=10_000), most_bytes=10**9)
            with locking(conn, step) as begun:
                [locked] = begun.rows
            if found.after or locked["taken"] != array(sorted(job.id for job in found.jobs)):
                wrong.append((action, queues, given))
        sql("DELETE FROM haulier.operation")

    assert wrong == []


# --- In another order


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
    said = "SELECT id, gen_random_uuid(), 1, now(), 0, now() FROM haulier.job"
    sql(f"INSERT INTO haulier.progress (job_id, claim, done, at, first_done, first_at) {said}")
    sql("ANALYZE haulier.job, haulier.progress")
    given = {"ids": jobs[:20], "queues": ["mail"], "statuses": ["queued"], "limit": 21, "most_bytes": 9_999}

    _, nodes = explain(conn, "list_in_order", given)

    assert {(node["Relation Name"], node.get("Index Name")) for node in nodes if "Relation Name" in node} == {
        ("job", "job_pkey"),
        ("progress", "progress_pkey"),
    }


# --- By the beginning of an id


ID = "01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71"


def test_reads_a_range_of_ids_from_the_beginning_of_one():
    for text in (ID[:8], ID[:9], ID[:13], ID[:35], ID, ID.upper(), ID[:8] + ID[9:11], ID.replace("-", "")):
        found = id_range(text)
        assert found is not None
        first, last = found
        assert first <= UUID(ID) <= last
        digits = text.lower().replace("-", "")
        outside = [UUID(int=(first.int - 1) % 2**128), UUID(int=(last.int + 1) % 2**128)]
        assert [each.hex.startswith(digits) for each in (first, last, *outside)] == [True, True, False, False]


def test_takes_nothing_else_for_the_beginning_of_an_id():
    texts = ["", ID[:7], "01a2-108e", f"{ID[:8]}--", f"{ID}0", "-" * 36, "send_email", "0x01a2108e", "\uff10" * 8]

    assert [text for text in texts if id_range(text)] == []


def prefix_of(job: UUID, digits: int = 8) -> tuple[UUID, UUID]:
    found = id_range(job.hex[:digits])
    assert found is not None
    return found


def test_finds_live_and_ended_jobs_of_the_queues_that_may_be_seen(conn):
    jobs = [put.job.id for put in queueing.enqueue(conn, [NewJob("mail", {}, queue=name) for name in "aab"]) if put.job]
    job_acts.cancel(conn, jobs[1])

    found = jobs_by_prefix(conn, prefix_of(jobs[0]), limit=9)
    own = jobs_by_prefix(conn, prefix_of(jobs[0]), queues=["b"], limit=9)
    [one] = jobs_by_prefix(conn, prefix_of(jobs[1], 32), limit=9)

    assert [each.id for each in found] == sorted(jobs)
    assert [each.id for each in own] == [jobs[2]]
    assert (one.id, one.kind, one.status, one.queue) == (jobs[1], "mail", JobStatus.CANCELLED, "a")
    assert jobs_by_prefix(conn, prefix_of(jobs[0]), limit=2) == found[:2]
    assert jobs_by_prefix(conn, prefix_of(UUID(int=7)), limit=9) == []


def test_looks_at_a_bounded_number_whoever_may_see_them(conn, monkeypatch):
    monkeypatch.setattr(id_prefix, "MOST_ROWS", 2)
    jobs = [put.job.id for put in queueing.enqueue(conn, [NewJob("mail", {}, queue=name) for name in "aab"]) if put.job]

    assert len(jobs_by_prefix(conn, prefix_of(jobs[0]), limit=9)) == 2
    assert jobs_by_prefix(conn, prefix_of(jobs[0]), queues=["b"], limit=9) == []


def test_walks_the_primary_keys_however_many_jobs_there_are(conn, sql):
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(900)])
    copy_to_history(sql, new_id="haulier.uuidv7()")
    sql("ANALYZE haulier.job, haulier.finished_job")
    [[job]] = sql("SELECT max(id::text)::uuid FROM haulier.job")
    first, last = prefix_of(job)

    given = {"first_id": first, "last_id": last, "most_rows": 20, "limit": 9}
    _, nodes = explain(conn, "jobs_in_id_range", given)

    scans = {node["Index Name"] for node in nodes if node["Node Type"] in ("Index Scan", "Index Only Scan")}
    assert "job_pkey" in scans
    assert {name for name in scans if not name.endswith("_pkey")} == set()
    assert [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Actual Rows"]] == []
    assert max(node["Actual Rows"] for node in nodes) <= 40
