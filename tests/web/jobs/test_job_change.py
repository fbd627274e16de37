"""The form that changes a job: it ..."""

from __future__ import annotations

from contextlib import closing
from uuid import UUID

import pytest
from flask import Flask, g
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from app.http.acting import changed_as_it_is
from app.http.auth import NOBODY
from haulier.domain.api_key import Scope
from haulier.domain.job import Json
from haulier.postgres.connection import connect
from haulier.postgres.statements import transaction
from haulier.queue import jobs
from haulier.queue.jobs.change import Changes
from haulier.queue.rows import StoredJob
from tests.web.browsing import Browser, form
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import EMAIL, enqueue


@pytest.fixture
def job(conn: Connection) -> UUID:
    """Give a job that waits."""
    return enqueue(conn, queue="mail")


@pytest.fixture
def path(job: UUID) -> str:
    """Give the path of its page."""
    return f"/ui/jobs/{job}"


def test_changes_the_fields_that_were_changed_in_the_form(
    browser: Browser, conn: Connection, sql, job: UUID, path: str
) -> None:
    page = browser.page(path)
    # Meanwhile somebody else changes others.
    jobs.change(conn, job, Changes.of(priority=5, queue="post"), actor="ops-bert")

    done = browser.send(page, f"{path}/change", max_attempts="9", due="2h")

    assert done.status_code == 303
    changed = "SELECT priority, queue, max_attempts, run_at > now() + interval '1 hour' FROM haulier.job"
    assert sql(changed) == [(5, "post", 9, True)]


@pytest.mark.parametrize(
    ("theirs", "typed", "now"),
    [
        ({"queue": "post"}, {"queue": "bulk", "priority": "7"}, {"queue": "post", "priority": "0"}),
        ({"delay_seconds": 3600}, {"due": "2h"}, {"due": ""}),
    ],
)
def test_shows_what_a_job_is_now_if_somebody_has_changed_the_same_field(
    browser: Browser,
    conn: Connection,
    sql,
    job: UUID,
    path: str,
    theirs: dict[str, Json],
    typed: dict[str, str],
    now: dict[str, str],
) -> None:
    page = browser.page(path)
    jobs.change(conn, job, Changes.of(**theirs), actor="ops-bert")

    shown = browser.refused(page, f"{path}/change", 409, **typed)
    again = browser.send(shown, f"{path}/change", **typed)

    assert "Somebody has changed this meanwhile" in shown.text
    assert {name: form(shown, f"{path}/change")[name] for name in now} == now
    assert again.status_code == 303
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'change'") == [(2,)]


def test_takes_a_change_that_somebody_else_has_made_too(browser: Browser, path: str) -> None:
    page = browser.page(path)

    assert [browser.send(page, f"{path}/change", priority="7").status_code for _ in range(2)] == [303, 303]


def test_compares_with_what_the_form_showed_at_first_if_a_field_is_wrong(
    browser: Browser, conn: Connection, job: UUID, path: str
) -> None:
    refused = browser.refused(browser.page(path), f"{path}/change", priority="many")
    jobs.change(conn, job, Changes.of(priority=5))

    assert browser.send(refused, f"{path}/change", priority="7").status_code == 409


def test_lets_nobody_change_a_job_between_the_look_at_it_and_the_change(
    site: Flask, database: str, sql, job: UUID
) -> None:
    seen: list[int] = []

    def asked(found: StoredJob) -> tuple[Changes, None]:
        seen.append(found.priority)
        if len(seen) == 2:
            with (
                closing(connect(database)) as other,
                pytest.raises(errors.LockNotAvailable),
                transaction(other, lock_seconds=0.1),
            ):
                jobs.change(other, job, Changes.of(priority=5))
        return Changes.of(priority=7), None

    with site.test_request_context():
        g.caller = NOBODY
        changed_as_it_is(job, asked)

    assert seen == [0, 0]
    assert sql("SELECT priority FROM haulier.job") == [(7,)]


def test_moves_no_job_into_a_queue_that_the_key_may_not_use(signed_in: SignedIn, sql, path: str) -> None:
    browser = signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])

    assert browser.send(browser.page(path), f"{path}/change", queue="salmon").status_code == 403
    assert sql("SELECT queue FROM haulier.job") == [("mail",)]


def test_makes_no_more_queues_than_the_api(make_site: MakeSite, signed_in: SignedIn, sql, path: str) -> None:
    browser, new = signed_in(app=make_site(queues_per_key=1)), "/ui/jobs/new"

    done = [browser.send(browser.page(path), f"{path}/change", queue=name).status_code for name in ("one", "two")]
    form = browser.page(f"{new}?kind=send_email")
    done.append(
        browser.send(form, new, queue="three", **{f"p.{name}": text for name, text in EMAIL.items()}).status_code
    )

    assert done == [303, 422, 422]
    assert sql("SELECT queue FROM haulier.job") == [("one",)]
