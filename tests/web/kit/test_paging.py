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
from tests.web.browsing import Browser, new_key
from tests.web.jobs import claim, counted, enqueue, fail

MOST = ("failures.MOST_GROUPS", "workers.MOST", "operations.MOST", "keys.MOST", "audit.LIMIT", "kinds.MOST_KINDS")
MOST += ("queues.MOST_QUEUES", "schedules.schedules.MOST", "schedules.schedules.MOST_TICKS")
NAMES = ("a", "a.c", "a_b", "ab", "z")


@pytest.fixture
def ids(conn: Connection, sql, make_key: MakeKey, browser: Browser, monkeypatch) -> dict[str, list[str]]:
    """Have five of everything, two on a page; return what each list has, in its order, by the path of the list."""
    for name in MOST:
        monkeypatch.setattr(f"app.web.pages.{name}", 2)
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


def test_goes_through_each_list_and_shows_each_entry_once(browser: Browser, ids: dict[str, list[str]]) -> None:
    known = {"send_email", *browser.client.application.extensions["haulier"].kinds}
    names = {"/ui/queues": NAMES, "/ui/kinds": {*NAMES, *known}, "/ui/kinds?queue=a_b": ["a_b"], "/ui/schedules": NAMES}

    pages = {path: [list(page.rows()) for page in browser.through(path)] for path in ids}
    of_names = {path: [list(page.named_rows()) for page in browser.through(path)] for path in names}

    assert {path: sum(found, []) for path, found in pages.items()} == ids
    assert {len(page) for found in pages.values() for page in found[:-1]} == {2}
    assert {path: sorted(sum(found, [])) for path, found in of_names.items()} == {
        path: sorted(each) for path, each in names.items()
    }
    assert max(len(page) for found in of_names.values() for page in found) <= 2


def test_goes_through_ticks_and_back_from_the_last_failures(browser: Browser, ids: dict[str, list[str]]) -> None:
    *_, last = browser.through("/ui/failures")
    assert "15 failed, 0 retried, 5 groups" in last.text
    assert "5 to 5 of 5, most frequent first" in last.text
    assert last.one("a", rel="prev").attrs["href"] == "/ui/failures?span=1h&from=2"
    pages = list(browser.through("/ui/schedules/a"))
    ledgers = [each for page in pages for each in page.all("section", **{"aria-labelledby": "ticks"})]
    times = [
        [row.all("time")[0].attrs["datetime"] for row in ledger.all("tr") if row.all("time")] for ledger in ledgers
    ]

    assert [len(each) for each in times] == [2, 2, 1]
    assert sum(times, []) == sorted(set(sum(times, [])), reverse=True)
