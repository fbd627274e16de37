"""What all pages have in common, their long lists, and the page of the database: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from app.web.kit.templates import installation
from app.web.pages.database import TITLES, fix_of, limits_of, states_of, worst_first
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.domain.checks import Check, CheckState, Threshold
from haulier.domain.operation import OperationAction
from haulier.postgres.statements import bounded
from haulier.queue import jobs, search
from haulier.queue.health.database_checks import THRESHOLDS
from haulier.queue.health.tables import Table, list_tables
from haulier.queue.operations import operations
from haulier.queue.operations.operations import Order
from lab.proxy import Proxy
from tests.conftest import eventually
from tests.http.callers import MakeKey
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser, MakeSite, SignedIn, form, new_key, read
from tests.web.jobs import claim, counted, enqueue, fail
from tests.web.overview import headlines
from tests.web.world import locked


def test_shows_the_rest_of_a_page_if_a_part_is_locked(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, kind="swim")
    plant(sql, "nightly", cron="0 2 * * *")
    group = fail(conn, "Timeout: x")
    counted(conn)
    late, kept = "Could not be loaded", {}

    for table, path, rest in (
        ("pause", "/ui", "Failing now"),
        ("finished_job", f"/ui/failures/{group}", "First error"),
        ("worker", "/ui/queues/mail", "mail"),
        ("tick", "/ui/schedules", "Schedules"),
        ("tick", "/ui/schedules/nightly", "0 2 * * *"),
        ("tick", "/ui/database", "PostgreSQL 1"),
    ):
        # In less time than usual, so that the test takes less, too.
        with locked(conn, table), bounded(seconds=5.0, lock_seconds=0.05):
            text = browser.page(path).text
        kept[path] = (late in text, rest in text)

    assert kept == dict.fromkeys(kept, (True, True))
    # What a kind is needs no worker, and that there is none needs the counts.
    with locked(conn, "worker"), bounded(seconds=5.0, lock_seconds=0.05):
        assert "Payload" in browser.page("/ui/kinds/send_email").text
    with locked(conn, "depth"), bounded(seconds=5.0, lock_seconds=0.05):
        assert "Some facts about this kind could not be loaded" in headlines(browser.page("/ui/kinds/swim"))


def test_has_a_home_a_name_and_a_page_for_what_is_missing(
    make_site: MakeSite, signed_in: SignedIn, browser: Browser, site: Flask
) -> None:
    shop = signed_in(app=make_site(installation_name="shop-production", time_zone="Europe/Berlin")).page("/ui/help")
    off = make_site(dashboard="off", docs_public="1", auth="off").test_client()

    with make_site(database_url="postgresql://u@[fd00::1],[fd00::2]/shop").test_request_context():
        of_several_hosts = installation()

    assert of_several_hosts == "shop"
    assert browser.client.get("/").headers["Location"] == "/ui"
    assert off.get("/").headers["Location"] == "/docs"
    assert off.get("/ui").status_code == 404
    assert (shop.one("title").text, "All times in Europe/Berlin" in shop.text) == ("Help · shop-production", True)
    assert browser.page("/ui/nowhere", 404).one("h1").text == "Not found"
    browser.page("/ui/jobs/nonsense", 404)
    assert site.test_client().get("/ui/nowhere").status_code == 303


def test_keeps_the_settings_of_a_person(browser: Browser, conn: Connection) -> None:
    path, settings = f"/ui/jobs/{enqueue(conn)}", "/ui/settings"
    form = browser.page(settings)

    refused = [browser.send(form, settings, zone=zone).status_code for zone in ("", "No/No", "../etc/passwd", "é")]
    unchanged = browser.page(settings)
    done = browser.send(form, settings, theme="dark", zone="Asia/Tokyo", exact="1", keys="0")
    page = browser.page(path)

    assert (refused, unchanged.control("zone").attrs["value"], done.status_code) == ([422] * 4, "UTC", 303)
    assert "data-no-keys" not in unchanged.one("html").attrs
    assert page.one("html").attrs.items() >= {"data-theme": "dark", "data-no-keys": ""}.items()
    assert "checked" not in browser.page(settings).one("input", name="keys").attrs
    assert "All times in Asia/Tokyo" in page.text
    assert " ago" not in page.text
    assert browser.send(page, f"{settings}/theme").headers["Location"] == path
    browser.send(browser.page(settings), settings, keys="1")
    assert browser.page(path).one("html").attrs["data-theme"] == "auto"
    assert "data-no-keys" not in browser.page(path).one("html").attrs


# While the database is away


@pytest.fixture
def proxy(config: Config) -> Iterator[Proxy]:
    with closing(Proxy(config.database_url)) as proxy:
        proxy.start()
        yield proxy


@pytest.fixture
def behind(proxy: Proxy, make_site: MakeSite, signed_in: SignedIn) -> Browser:
    return signed_in(Scope.ADMIN, app=make_site(database_url=proxy.url))


def test_says_so_and_is_back_by_itself(behind: Browser, proxy: Proxy) -> None:
    paths = ("/ui", "/ui/jobs", "/ui/failures", "/ui/database", "/ui/help")
    for path in paths:
        behind.page(path)
    stranger = Browser(behind.client.application)
    page = stranger.page("/ui/sign-in")

    proxy.go_away()
    answers = {path: (behind.get(path), behind.get(path, Haulier_Live="x")) for path in paths}
    refused = stranger.send(page, "/ui/sign-in", key="hlr_0123456789ab_" + "x" * 43)
    proxy.come_back()

    assert (refused.status_code, read(refused.text).one("h1").text) == (503, "Temporarily unavailable")

    for path, (away, poll) in answers.items():
        page = read(away.text)
        assert (away.status_code, away.headers["Retry-After"]) == (503, "5"), path
        assert '<meta http-equiv="refresh" content="5">' in away.text
        assert page.one("h1").text == "Temporarily unavailable"
        assert "database" in page.one("main").text
        assert (poll.status_code, poll.text) == (503, "")
        # In the same session.
        assert behind.page(path).all("h1")


def test_sends_no_form_again_by_itself(behind: Browser, proxy: Proxy, conn: Connection, sql) -> None:
    job = enqueue(conn)
    page = behind.page(f"/ui/jobs/{job}")

    proxy.go_away()
    refused = behind.post(f"/ui/jobs/{job}/cancel", **form(page, f"/ui/jobs/{job}/cancel"))
    proxy.come_back()

    assert refused.status_code == 503
    assert "http-equiv" not in refused.text
    assert sql("SELECT status FROM haulier.jobs") == [("queued",)]
    assert behind.post(f"/ui/jobs/{job}/cancel", **form(page, f"/ui/jobs/{job}/cancel")).status_code == 303


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


def test_shows_each_check_with_its_state(browser: Browser) -> None:
    page = browser.page("/ui/database")

    shown = {each.attrs["id"].removeprefix("check-") for each in page.all("li") if "id" in each.attrs}
    assert shown == set(THRESHOLDS) == set(TITLES)
    assert "PostgreSQL 1" in page.all("div", class_="title")[0].text


def test_shows_the_tables_with_their_sizes_and_the_partitions_together(browser: Browser, conn: Connection, sql) -> None:
    for _ in range(3):
        jobs.cancel(conn, enqueue(conn))
    job = enqueue(conn)
    sql("VACUUM ANALYZE haulier.job, haulier.finished_job")
    sql("DELETE FROM haulier.job WHERE id = %s RETURNING 1", str(job))

    def counted() -> dict[str, Table] | None:
        found = {each.name: each for each in list_tables(conn)}
        return found if found["job"].dead else None

    # The server's own figures come some time after what they count.
    found = eventually(counted)
    page = browser.page("/ui/database")

    assert (found["finished_job"].partitions > 1, found["job"].partitions) == (True, 0)
    assert found["finished_job"].rows >= 3
    assert [found[name].vacuumed_at is not None for name in ("job", "finished_job")] == [True, True]
    assert [found[name].analyzed_at is not None for name in ("job", "finished_job")] == [True, True]
    rows = page.named_rows()
    assert {name.split()[0] for name in rows} == set(found)
    cells = rows["job"].cells()
    assert (cells["dead"] == "0", cells["bloat"]) == (False, "–")
    assert cells["size"].endswith((" kB", " bytes"))


def test_says_how_many_times_its_rows_a_table_takes(conn: Connection, sql) -> None:
    sql(
        "INSERT INTO haulier.job (kind, payload) SELECT 'mail', jsonb_build_object('n', repeat(md5(n::text), 20))"
        " FROM generate_series(1, 30000) AS n RETURNING 1"
    )
    sql("DELETE FROM haulier.job WHERE mod(hashtext(id::text), 4) <> 0 RETURNING 1")
    sql("VACUUM ANALYZE haulier.job")

    [found] = [each for each in list_tables(conn) if each.name == "job"]

    assert found.bloat is not None
    assert 2 < found.bloat < 10


def test_puts_the_worst_first_and_says_what_to_do() -> None:
    def check(name: str, state: CheckState, fix: str | None = None) -> Check:
        return Check(name, state, 1.0, Threshold("seconds", 300, 1800), "told", "does", fix)

    checks = [
        check("size", CheckState.OK),
        check("slots", CheckState.UNKNOWN),
        check("locks", CheckState.WARN, "End who holds it: SELECT 1;"),
        check("vacuum", CheckState.BAD),
    ]
    found = worst_first(checks)

    assert [each.name for each in found] == ["vacuum", "locks", "slots", "size"]
    assert states_of(checks) == "1 OK, 2 not OK, 1 unknown"
    assert fix_of(found[1].fix or "") == ("End who holds it:", "SELECT 1;")
    assert fix_of("End it (see locks); then VACUUM haulier.job;") == ("End it (see locks); then", "VACUUM haulier.job;")
    assert fix_of("See SHOW POOLS of the pool.") == ("See SHOW POOLS of the pool.", "")
    assert limits_of(found[1].threshold) == "warning from 5 min, bad from 30 min"
