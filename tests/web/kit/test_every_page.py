"""What all pages have in common: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.postgres.statements import bounded
from lab.proxy import Proxy
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser, MakeSite, SignedIn, form, read
from tests.web.forms import PAGES
from tests.web.jobs import counted, enqueue, fail
from tests.web.overview import headlines
from tests.web.world import locked


def test_is_well_formed_while_there_is_nothing_yet(browser: Browser) -> None:
    plain = [page.path for page in PAGES.values() if "{" not in page.path and page.path != "/ui/audit.csv"]

    for path in (*plain, "/ui?span=7d", "/ui?span=nonsense"):
        browser.page(path)

    assert len(plain) > 15


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
