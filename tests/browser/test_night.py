"""A bad night, incident by incident, as somebody sees them on the overview and ends them by clicking: it ..."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from playwright.sync_api import Browser, expect

from haulier.local.throwaway import throwaway_server
from haulier.postgres.connection import connect
from haulier.postgres.scratch import create_database
from haulier.queue.upkeep.migrate import migrate
from lab.dashboard import HOME
from tests.browser.errors import BAD
from tests.browser.night import KINDS, Incident, Night, frozen, open_night, stop
from tests.browser.tab import WIDE, Tab, at
from tests.conftest import eventually, sql_on
from tests.web import gunicorn

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Jobs that come in all the time, in each quarter of a second.
USUAL = """
    INSERT INTO haulier.job (kind, payload, queue)
    SELECT 'draw_label', jsonb_build_object('order', n), 'orders' FROM generate_series(1, 15) AS n
"""
BAD_DEPLOY = """
    INSERT INTO haulier.job (kind, payload, queue, max_attempts)
    SELECT (%s::text[])[1 + n %% 3], jsonb_build_object('order', n, 'is_new', true), 'orders', 1
    FROM generate_series(1, 6000) AS n
"""
# A queue in which jobs end, and in which they are due once it is paused.
EXPORTS = """
    INSERT INTO haulier.job (kind, payload, queue)
    SELECT 'draw_label', '{"order": 4711}', 'exports' FROM generate_series(1, 500)
"""


@pytest.fixture(scope="module")
def night(chromium: Browser, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Night]:
    """Give a service of two workers and a Postgres of its own, at its usual load; print the table of the night."""
    with ExitStack() as stack:
        dsn = create_database(stack.enter_context(throwaway_server()), "haulier_night")
        conn = stack.enter_context(closing(connect(dsn)))
        migrate(conn, retention_days=30)
        server = stack.enter_context(gunicorn(dsn, eventually, HAULIER_KINDS=KINDS))
        tab = Tab(chromium.new_context(viewport=WIDE))
        stack.callback(tab.context.close)
        night = open_night(server, dsn, conn, tab, tmp_path_factory.mktemp("night"))
        stack.callback(lambda: stop(night.workers))
        for _ in range(2):
            night.start_worker()
        stack.enter_context(usual_load(dsn))
        eventually(lambda: night.sql("SELECT FROM haulier.counting WHERE depth_at IS NOT NULL"))
        yield night
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("", *night.table(), sep="\n")
    # What the frozen database answers with.
    assert [each for each in tab.said if " 503 " not in each] == []


@contextmanager
def usual_load(dsn: str) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        with closing(connect(dsn)) as conn:
            while not over.wait(0.25):
                sql_on(conn)(USUAL)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def idle(night: Night) -> Iterator[Incident]:
    """Begin a transaction in which nothing happens. It is named after minutes: other things go wrong meanwhile."""
    with closing(connect(night.dsn, application_name="report")) as conn:
        sql_on(conn)("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM haulier.job LIMIT 1")
        yield night.begin("idle transaction", "idle in transaction", within=180, most_clicks=2)


def test_leads_from_a_bad_deploy_to_one_retry_of_all(night: Night, idle: Incident) -> None:
    incident = night.begin("bad deploy", "failed in the last|is failing|[Nn]ew error", within=30, most_clicks=6)
    night.sql(BAD_DEPLOY, list(BAD))
    night.see(incident)
    with night.acting(incident) as person:
        page, notice = person.page, incident.notice(person.page)
        expect(notice.locator(".lines li")).to_have_count(len(BAD))
        person.click(notice.locator(".lines").get_by_role("link", name="Look").first)
        expect(page.locator("main pre").first).to_contain_text(re.compile("|".join(text[:9] for text in BAD.values())))
        (night.folder / "fixed").touch()
        person.click(None)
        person.click(notice.get_by_role("link", name="Retry all"))
        person.click(page.get_by_role("button", name="Preview"))
        person.click(page.get_by_role("button", name=re.compile("^Retry [0-9,]+$")))
        expect(page.locator("main")).to_contain_text("It has ended")
    night.end(incident)

    assert night.faults(incident) == []
    failed = "SELECT FROM haulier.finished_job WHERE status = 'failed_permanent' LIMIT 1"
    eventually(lambda: not night.sql(failed))


def test_resumes_a_forgotten_pause_from_its_notice(night: Night) -> None:
    night.sql(EXPORTS)
    eventually(lambda: not night.sql("SELECT FROM haulier.job WHERE queue = 'exports'"))
    night.sql("INSERT INTO haulier.pause (queue, since) VALUES ('exports', now() - interval '3 hours')")
    night.sql(EXPORTS)
    incident = night.begin("forgotten pause", "paused for", within=30, most_clicks=1)
    night.see(incident)
    with night.acting(incident) as person:
        person.click(incident.notice(person.page).get_by_role("button", name="Resume"))
        expect(person.page.locator("#said")).to_contain_text("Resumed exports")
    night.end(incident)

    assert night.faults(incident) == []


def test_names_a_worker_that_was_killed(night: Night) -> None:
    incident = night.begin("killed worker", "silent|stopped responding", within=30)
    night.kill(night.workers[0])
    night.see(incident)
    eventually(lambda: "stopped responding" in str(night.notes()[-1]))

    assert night.faults(incident) == []
    night.start_worker()


def test_names_an_idle_transaction_and_what_ends_it(night: Night, idle: Incident) -> None:
    night.see(idle)
    with night.acting(idle) as person:
        person.click(idle.notice(person.page).get_by_role("link", name="What to do"))
        at(person.page, f"{HOME}/database")
        night.sql(person.page.locator("main code, main pre", has_text="pg_terminate_backend").first.inner_text())
    night.end(idle)

    assert night.faults(idle) == []


def test_says_that_the_database_is_frozen_and_recovers(night: Night) -> None:
    incident = night.begin("frozen database", "out of date")
    live = night.watch.locator("[data-live-toggle]")
    with frozen(night.conn):
        expect(live).to_contain_text("Out of date")
        incident.seconds, incident.place = round(time.time() - incident.began_at, 1), 1
    expect(live).to_have_text("Live")

    assert night.faults(incident) == []
