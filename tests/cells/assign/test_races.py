"""Enqueues while their API key is assigned to another cell ..."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from itertools import count, islice
from uuid import uuid4

import pytest

from haulier.cells import assign as module
from haulier.cells.assign import assign
from haulier.domain.errors import AssignmentRefused, KeyMoved
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.postgres.statements import rows, transaction
from haulier.queue import jobs
from haulier.queue.jobs.draft import Receipt
from haulier.queue.jobs.idempotency import Holder, take_idempotency
from tests.cells.assign.conftest import STEPS, crash_after, move
from tests.conftest import eventually, sql_on
from tests.rivals import at_the_same_moment, beside


def test_the_database_refuses_jobs_of_a_process_that_has_not_heard_of_it(cells):
    one, two = cells
    key, _ = one.new_key()
    move(one, two, key.id)
    plain, keyed = (
        jobs.draft(NewJob("mail", {}, idempotency_key=name), scope=key.id, in_cell=True) for name in (None, "k")
    )
    [[before]] = one.sql("SELECT count(*) FROM haulier.jobs")

    for enqueue in (
        partial(jobs.enqueue_one, asked=plain),
        partial(jobs.enqueue_one, asked=keyed),
        partial(jobs.enqueue_all, drafts=[plain, keyed]),
        partial(jobs.enqueue_each, drafts=[plain, keyed]),
    ):
        with pytest.raises(KeyMoved, match="cell 2 takes the new jobs"):
            enqueue(one.conn)

    assert one.sql("SELECT count(*) FROM haulier.jobs") == [(before,)]
    assert one.sql("SELECT count(*) FROM haulier.idempotency WHERE key = %s", f"{key.id} k") == [(0,)]


def test_waits_for_an_enqueue_that_has_looked_and_for_no_reader(cells, monkeypatch):
    monkeypatch.setattr(module, "UNDER_WAY_SECONDS", 0.1)
    one, two = cells
    key, _ = one.new_key()
    run = assign(one.side, two.side, key.id)
    list(islice(run, 2))
    with closing(connect(one.dsn)) as reader, closing(connect(one.dsn)) as late:
        sql_on(reader)("BEGIN; LOCK TABLE haulier.api_key, haulier.job, haulier.idempotency IN ACCESS SHARE MODE")
        # A batch, between its look and its jobs.
        sql_on(late)("BEGIN")
        rows(late, "times", scope=key.id)
        with beside(partial(list, run)) as results:
            eventually(lambda: one.moved_to(key.id) == [2])
            began = time.monotonic()
            eventually(lambda: time.monotonic() > began + 5 * module.UNDER_WAY_SECONDS)
            taken, late_id = two.moved_to(key.id), str(uuid4())
            take_idempotency(late, {f"{key.id} late": Holder(b"", late_id)})
            sql_on(late)("COMMIT")

    assert (taken, len(results[0])) == ([1], STEPS - 2)
    assert two.moved_to(key.id) == [None]
    assert two.sql("SELECT job_id::text FROM haulier.idempotency WHERE key = %s", f"{key.id} late") == [(late_id,)]


def test_gives_up_if_an_enqueue_does_not_end_and_goes_on_later(cells, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    one, two = cells
    key, _ = one.new_key()
    with closing(connect(one.dsn)) as late, transaction(late):
        rows(late, "times", scope=key.id)
        with pytest.raises(AssignmentRefused, match=rf"SELECT pg_terminate_backend\({late.get_backend_pid()}\)"):
            move(one, two, key.id)

    assert len(move(one, two, key.id)) == STEPS


def test_racing_enqueues_are_accepted_once_by_one_of_the_two(cells):
    one, two = cells
    key, _ = one.new_key()
    accepted: list[tuple[str, int, Receipt]] = []
    is_over = False

    def client(prefix: str, batch: int) -> None:
        """Enqueue as a web process does that has not heard of the assignment; each refused or lost job again."""
        with closing(connect(one.dsn)) as here, closing(connect(two.dsn)) as there:
            for number in count():
                drafts = [
                    jobs.draft(
                        NewJob("mail", {}, idempotency_key=f"{prefix}-{number}-{each}"), scope=key.id, in_cell=True
                    )
                    for each in range(batch)
                ]
                for turn in islice(count(), 10_000):
                    conn, cell = [(here, 1), (there, 2)][turn % 2]
                    try:
                        stored = (
                            [jobs.enqueue_one(conn, drafts[0]).receipt]
                            if batch == 1
                            else [each.receipt for each in jobs.enqueue_all(conn, drafts)]
                        )
                    except KeyMoved:
                        continue
                    accepted.extend(
                        (str(draft.idempotency_key), cell, each) for draft, each in zip(drafts, stored, strict=True)
                    )
                    # Every third one is sent again, as if the answer was lost.
                    if number % 3 or turn >= 1:
                        break
                if is_over and cell == 2:
                    return

    def mover() -> list[str]:
        nonlocal is_over
        eventually(lambda: len(accepted) > 50)
        said = move(one, two, key.id)
        is_over = True
        return said

    # The other cell knows the key from before, and refuses its jobs.
    crash_after(1, one, two, key.id)
    results = at_the_same_moment(mover, partial(client, "a", 1), partial(client, "b", 1), partial(client, "c", 20))

    assert [each for each in results if isinstance(each, Exception)] == []
    keys = [cell.sql("SELECT idempotency_key FROM haulier.job WHERE idempotency_key ~ '^[abc]-'") for cell in cells]
    assert min(len(each) for each in keys) > 0
    assert len({*keys[0], *keys[1]}) == len(keys[0]) + len(keys[1])
    created = [name for name, _, receipt in accepted if receipt is Receipt.CREATED]
    assert sorted(created) == sorted(name for each in keys for [name] in each)
    assert {receipt for *_, receipt in accepted} == {Receipt.CREATED, Receipt.REPLAYED}
