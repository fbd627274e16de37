"""Lists that are longer than a page: it ..."""

from __future__ import annotations

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.operation import OperationAction
from haulier.queue import search
from haulier.queue.operations import operations
from haulier.queue.operations.operations import Order
from tests.http.callers import MakeKey
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser
from tests.web.conftest import new_key
from tests.web.jobs import claim, counted, enqueue, fail

# How many each page has here.
MOST = {
    "failures.MOST_GROUPS": 2,
    "workers.MOST": 2,
    "operations.MOST": 2,
    "keys.MOST": 2,
    "audit.LIMIT": 2,
    "kinds.MOST_KINDS": 2,
    "queues.MOST_QUEUES": 2,
    "schedules.schedules.MOST": 2,
    "schedules.schedules.MOST_TICKS": 2,
}
NAMES = ("a", "a.c", "a_b", "ab", "z")


@pytest.fixture
def ids(conn: Connection, sql, make_key: MakeKey, browser: Browser) -> dict[str, list[str]]:
    """Have five of everything; return what each list has, in its order, by the path of the list."""
    workers, groups, started = [], [], []
    for times, name in enumerate(NAMES, 1):
        enqueue(conn, kind=name, queue=name)
        workers.append(str(claim(conn, name)[0]))
        groups.append(fail(conn, f"{name}Error: x", queue="default", times=times))
        plant(sql, name, every_seconds=3600)
        order = Order(OperationAction.CANCEL, search.JobFilter(queues=[name]), [name], starts_in_seconds=3600.0)
        started.append(str(operations.start(conn, order, as_of=None, actor="ops-anna").id))
        new_key(make_key, Scope.READ)
    sql("DELETE FROM haulier.worker WHERE id <> ALL (%s::uuid[])", workers)
    sql(
        "SELECT haulier.fire_ticks(array_agg('a'::text), array_agg(now() - make_interval(mins => n)),"
        " array_agg('skipped_refused'::text)) FROM generate_series(1, 5) AS n"
    )
    counted(conn)
    [(keys,)] = sql("SELECT array_agg(id ORDER BY created_at DESC) FROM haulier.api_key")
    [(entries,)] = sql("SELECT array_agg(id::text ORDER BY id DESC) FROM haulier.audit WHERE actor = 'ops-anna'")
    return {
        "/ui/failures": groups[::-1],
        "/ui/workers": workers[::-1],
        "/ui/operations": started[::-1],
        "/ui/keys": keys,
        "/ui/audit?actor=ops-anna": entries,
    }


def test_goes_through_each_list_and_shows_each_entry_once(
    browser: Browser, ids: dict[str, list[str]], monkeypatch
) -> None:
    for name, most in MOST.items():
        monkeypatch.setattr(f"app.web.pages.{name}", most)

    pages = {path: [list(page.rows()) for page in browser.through(path)] for path in ids}

    assert {path: sum(found, []) for path, found in pages.items()} == ids
    assert {len(page) for found in pages.values() for page in found[:-1]} == {2}


def test_goes_through_each_list_of_names_and_shows_each_once(
    browser: Browser, ids: dict[str, list[str]], monkeypatch
) -> None:
    for name, most in MOST.items():
        monkeypatch.setattr(f"app.web.pages.{name}", most)
    known = set(browser.client.application.extensions["haulier"].kinds)

    paths = ("/ui/queues", "/ui/kinds", "/ui/kinds?queue=a_b", "/ui/schedules")
    pages = {path: [list(page.named_rows()) for page in browser.through(path)] for path in paths}
    shown = {path: sum(found, []) for path, found in pages.items()}

    assert max(len(page) for found in pages.values() for page in found) <= 2
    assert sorted(shown["/ui/queues"]) == sorted(NAMES)
    assert sorted(shown["/ui/kinds"]) == sorted({*NAMES, *known})
    assert sorted(shown["/ui/kinds?queue=a_b"]) == ["a_b"]
    assert sorted(shown["/ui/schedules"]) == sorted(NAMES)


def test_goes_through_the_ticks_of_a_schedule(browser: Browser, ids: dict[str, list[str]], monkeypatch) -> None:
    monkeypatch.setattr("app.web.pages.schedules.schedules.MOST_TICKS", 2)

    pages = list(browser.through("/ui/schedules/a"))
    ledgers = [each for page in pages for each in page.all("section", **{"aria-labelledby": "ticks"})]
    times = [
        [row.all("time")[0].attrs["datetime"] for row in ledger.all("tr") if row.all("time")] for ledger in ledgers
    ]

    assert [len(each) for each in times] == [2, 2, 1]
    assert sum(times, []) == sorted(set(sum(times, [])), reverse=True)


def test_says_of_failures_how_many_there_are_and_leads_back(
    browser: Browser, ids: dict[str, list[str]], monkeypatch
) -> None:
    monkeypatch.setattr("app.web.pages.failures.MOST_GROUPS", 2)

    last = list(browser.through("/ui/failures"))[-1]

    assert "15 for good, 0 to be retried, 5 groups" in last.text
    assert "5 to 5 of 5, the most frequent first" in last.text
    assert last.one("a", rel="prev").attrs["href"] == "/ui/failures?span=1h&from=2"
    assert "No failure matches" in browser.page("/ui/failures?from=999999999").text
