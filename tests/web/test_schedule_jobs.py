"""How the jobs of schedules are, as their pages tell it: it ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.queue import produce
from tests.queue.schedules import plant
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, end

LIST = "/ui/schedules"
Fire = Callable[..., UUID]


@pytest.fixture
def fire(conn: Connection, sql: Any) -> Fire:
    """Give a function that has a new schedule fire into the queue of its name, ends the job so, and returns its id."""

    def fire(name: str, outcome: Outcome | None = None) -> UUID:
        plant(sql, name, every_seconds=3600, job={"kind": "mail", "payload": {}, "queue": name})
        sql("SELECT haulier.fire_ticks(ARRAY[%s], ARRAY[now()], '{fired}')", name)
        if outcome:
            _, [fence] = claim(conn, name)
            end(conn, fence, outcome)
        [(job,)] = sql("SELECT job_id FROM haulier.tick WHERE schedule = %s", name)
        return UUID(str(job))

    return fire


def last(page: Element, name: str) -> Element:
    """Return the cell that tells of a schedule's last tick and job."""
    [row] = [each for each in page.all("tr")[1:] if each.all("a")[0].text == name]
    return next(each for each in row.all("td") if each.given.get("data-name") == "last")


def test_says_how_the_last_job_of_each_schedule_is(browser: Browser, conn: Connection, fire: Fire, sql: Any) -> None:
    done = fire("done", Outcome.complete())
    failed = fire("failed", Outcome.fail_for_good("no luck"))
    waiting = fire("waiting")
    produce.delete(conn, fire("deleted", Outcome.complete()))
    plant(sql, "never", every_seconds=3600)

    page = browser.page(LIST)

    cells = {name: last(page, name) for name in ("done", "failed", "waiting", "deleted", "never")}
    assert {
        name: (cell.text.split()[-1], [a.given["href"] for a in cell.all("a")]) for name, cell in cells.items()
    } == {
        "done": ("Succeeded", [f"/ui/jobs/{done}"]),
        "failed": ("Failed", [f"/ui/jobs/{failed}"]),
        "waiting": ("Queued", [f"/ui/jobs/{waiting}"]),
        "deleted": ("gone", []),
        "never": ("–", []),
    }


def test_says_how_the_last_job_is_where_ticks_have_passed_since(browser: Browser, fire: Fire, sql: Any) -> None:
    job = fire("busy")
    sql("SELECT haulier.fire_ticks('{busy}', ARRAY[now() + interval '1 second'], '{skipped_overlap}')")

    cell = last(browser.page(LIST), "busy")

    [link] = cell.all("a")
    assert cell.text.startswith("passed ")
    assert (link.given["href"], link.text.split()[0]) == (f"/ui/jobs/{job}", "Queued")
    # Its own time, not that of the tick that has passed.
    assert len(link.all("time")) == 1


def test_says_how_the_job_of_each_tick_is(browser: Browser, conn: Connection, fire: Fire, sql: Any) -> None:
    first = fire("often", Outcome.fail_for_good("no luck"))
    sql("SELECT haulier.fire_ticks('{often}', ARRAY[now() + interval '1 second'], '{fired}')")
    produce.delete(conn, first)

    [cells] = [
        [row.all("td")[-1] for row in section.all("tr")[1:]]
        for section in browser.page(f"{LIST}/often").all("section")
        if section.given.get("aria-labelledby") == "ticks"
    ]

    assert [cell.text.rpartition(" ")[0] for cell in cells] == ["Queued", "its job is gone"]
    assert [len(cell.all("a")) for cell in cells] == [1, 0]
    assert cells[1].text.endswith(str(first))


def test_tells_of_no_job_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection, fire: Fire, sql: Any) -> None:
    job = fire("mail")
    sql("UPDATE haulier.job SET queue = 'salmon' WHERE id = %s", str(job))
    browser = signed_in(Scope.READ, queues=["mail"])

    pages = [browser.page(path) for path in (LIST, f"{LIST}/mail")]

    assert [page.all("a", href=f"/ui/jobs/{job}") for page in pages] == [[], []]
    assert ["its job is gone" in page.text for page in pages] == [True, True]


def test_is_another_page_once_the_job_has_ended(browser: Browser, conn: Connection, fire: Fire) -> None:
    fire("mail")
    paths = (LIST, f"{LIST}/mail")
    seen = {path: browser.page(path).all("main")[0].given["data-seen"] for path in paths}
    same = [browser.get(path, Haulier_Live=seen[path]).status_code for path in paths]

    _, [fence] = claim(conn, "mail")
    end(conn, fence, Outcome.complete())
    browser.client.application.extensions["haulier_shelf"].clear()

    assert same == [204, 204]
    assert [browser.get(path, Haulier_Live=seen[path]).status_code for path in paths] == [200, 200]
