"""What all pages have in common: it ..."""

from __future__ import annotations

from flask import Flask
from psycopg2.extensions import connection as Connection

from haulier.postgres.statements import bounded
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser
from tests.web.conftest import MakeSite, SignedIn
from tests.web.forms import PAGES
from tests.web.jobs import counted, enqueue, fail
from tests.web.overviews import headlines
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
    late, kept = "Not available just now", {}

    for table, path, rest in (
        ("pause", "/ui", "What fails now"),
        ("finished_job", f"/ui/failures/{group}", "The first one"),
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
    with locked(conn, "worker"):
        assert "Payload" in browser.page("/ui/kinds/send_email").text
    with locked(conn, "depth"):
        assert "Not all of this kind is known just now" in headlines(browser.page("/ui/kinds/swim"))


def test_leads_from_home_to_the_dashboard_or_to_the_docs(make_site: MakeSite, browser: Browser) -> None:
    off = make_site(dashboard="off", docs_public="1", auth="off").test_client()

    assert browser.client.get("/").headers["Location"] == "/ui"
    assert off.get("/").headers["Location"] == "/docs"
    assert off.get("/ui").status_code == 404


def test_answers_by_a_page_that_there_is_no_such_page(browser: Browser, site: Flask) -> None:
    assert browser.page("/ui/nowhere", 404).one("h1").text == "There is no such page"
    assert browser.page("/ui/jobs/nonsense", 404)
    assert site.test_client().get("/ui/nowhere").status_code == 303


def test_names_the_installation_and_the_zone(make_site: MakeSite, signed_in: SignedIn) -> None:
    browser = signed_in(app=make_site(installation_name="shop-production", time_zone="Europe/Berlin"))

    page = browser.page("/ui/help")

    assert page.one("title").text == "Help · shop-production"
    assert "All times in Europe/Berlin" in page.text


# The settings of a person, which their browser keeps

SETTINGS, HELP = "/ui/settings", "/ui/help"


def test_keeps_the_theme_the_zone_and_exact_times(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    done = browser.send(browser.page(SETTINGS), SETTINGS, theme="dark", zone="Asia/Tokyo", exact="1")

    page = browser.page(path)

    assert done.status_code == 303
    assert page.one("html").attrs["data-theme"] == "dark"
    assert "All times in Asia/Tokyo" in page.text
    assert " ago" not in page.text
    assert browser.send(page, f"{SETTINGS}/theme").headers["Location"] == path
    assert browser.page(HELP).one("html").attrs["data-theme"] == "auto"


def test_takes_no_zone_that_there_is_not(browser: Browser) -> None:
    page = browser.page(SETTINGS)

    refused = {
        zone: browser.send(page, SETTINGS, zone=zone).status_code
        for zone in ("", "Nowhere/None", "../etc/passwd", "Europe", "é")
    }

    assert refused == dict.fromkeys(refused, 422)
    assert browser.page(SETTINGS).control("zone").attrs["value"] == "UTC"


def test_turns_single_keys_off_and_on_again(browser: Browser) -> None:
    def is_off() -> bool:
        return "data-no-keys" in browser.page(HELP).one("html").attrs

    before = is_off()
    browser.send(browser.page(SETTINGS), SETTINGS, keys="0")
    off, page = is_off(), browser.page(SETTINGS)
    browser.send(page, SETTINGS, keys="1")

    assert (before, off, is_off()) == (False, True, False)
    assert "checked" not in page.one("input", name="keys").attrs
