"""A bad night in twelve incidents, as somebody sees them on the overview and ends them by clicking: it ..."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from haulier.domain.schedules.schedule import Overlap, Rule
from haulier.local.throwaway import throwaway_server
from haulier.postgres.connection import connect
from haulier.postgres.scratch import create_database
from haulier.queue.schedules.schedules import put_schedule
from haulier.queue.upkeep.migrate import migrate
from haulier.worker.steps.vitals import resident
from lab.dashboard import HOME
from tests.browser.errors import BAD
from tests.browser.night import KINDS, Incident, Night, frozen, open_night, progress, stop
from tests.browser.tab import WIDE, Tab, at
from tests.conftest import PATIENCE, eventually, sql_on
from tests.web import gunicorn

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Jobs that come in all the time, in each quarter of a second.
USUAL = """
    INSERT INTO haulier.job (kind, payload, queue)
    SELECT 'draw_label', jsonb_build_object('order', n), 'orders' FROM generate_series(1, 15) AS n
"""
BAD_DEPLOY = """
    INSERT INTO haulier.job (kind, payload, queue, max_attempts)
    SELECT (%s::text[])[1 + n %% 3], jsonb_build_object('order', n, 'is_new', true), 'shipping', 1
    FROM generate_series(1, 6000) AS n
"""
# A queue in which jobs end, and in which they are due once it is paused.
EXPORTS = """
    INSERT INTO haulier.job (kind, payload, queue)
    SELECT 'draw_label', '{"order": 4711}', 'exports' FROM generate_series(1, 500)
"""
PAGE = """
    INSERT INTO haulier.job (kind, payload, queue)
    VALUES ('render_page', jsonb_build_object('kilobytes', %s), 'pages')
"""
PDFS = """
    INSERT INTO haulier.job (kind, payload, queue, max_attempts)
    SELECT 'render_pdf', '{"kilobytes": 1000}', 'orders', 1 FROM generate_series(1, 5)
"""
CHARGES = """
    INSERT INTO haulier.job (kind, payload, queue, max_attempts)
    SELECT 'charge_card', '{"order": -1}', 'orders', 1 FROM generate_series(1, 12)
"""
ARCHIVE = """
    INSERT INTO haulier.job (kind, payload, queue)
    SELECT 'draw_label', '{"order": 4711}', 'archive' FROM generate_series(1, 40)
"""
USUAL_MEMORY = "SELECT vitals -> 'usual_memory' FROM haulier.worker WHERE pid = %s"
FLOOD = """
    INSERT INTO haulier.job (kind, payload, queue, tags)
    SELECT 'export_row', '{}', 'tenant-globex', '{tenant:globex}' FROM generate_series(1, 300000)
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
        stack.enter_context(every(0.25, dsn, lambda: (USUAL,)))
        eventually(lambda: night.sql("SELECT FROM haulier.counting WHERE depth_at IS NOT NULL"))
        yield night
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("", *night.table(), sep="\n")
    # What the frozen database answers with.
    assert [each for each in tab.said if " 503 " not in each] == []


@contextmanager
def every(seconds: float, dsn: str, statement: Callable[[], tuple[Any, ...]]) -> Iterator[None]:
    """Run a statement and its parameters again and again."""
    over = threading.Event()

    def run() -> None:
        with closing(connect(dsn)) as conn:
            while not over.wait(seconds):
                sql_on(conn)(*statement())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass
class Leak:
    """A worker that leaks so much in each of its jobs; it beats three times as often as by default."""

    worker: subprocess.Popen[bytes]
    kilobytes: int = 0

    def usual_bytes(self, night: Night) -> int:
        """Return what the worker takes itself to be as large as usually; 0 if it does not know yet."""
        [(known,)] = night.sql(USUAL_MEMORY, self.worker.pid)
        return int(known or 0)

    def restart(self, night: Night) -> None:
        """Replace all workers in order, as a deploy of the mended handler does: others have run its jobs, too."""
        self.kilobytes = 0
        leaking = [*night.workers]
        night.workers.clear()
        for _ in range(2):
            night.start_worker()
        stop(leaking)


@pytest.fixture(scope="module")
def leak(night: Night) -> Iterator[Leak]:
    """Run a worker that leaks nothing yet: what its usual size is it learns meanwhile."""
    leak = Leak(night.start_worker(LEASE_SECONDS="9", WORKER_QUEUES="pages"))
    with every(0.5, night.dsn, lambda: (PAGE, leak.kilobytes)):
        yield leak


@pytest.fixture(scope="module")
def idle(night: Night) -> Iterator[Incident]:
    """Begin a transaction in which nothing happens. It is named after minutes: other things go wrong meanwhile."""
    with closing(connect(night.dsn, application_name="report")) as conn:
        sql_on(conn)("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM haulier.job LIMIT 1")
        yield night.begin("idle transaction", "idle in transaction", within=180, most_clicks=2)


def test_says_that_no_worker_is_left(night: Night) -> None:
    # Before any other worker is lost: three within the hour are shown in any case.
    incident = night.begin("no worker", "silent|no worker|No worker|stopped responding", within=30)
    for worker in list(night.workers):
        night.kill(worker)
    night.see(incident)
    eventually(lambda: "due, but no worker" in str(night.notes()[-1]))
    due = night.watch.locator("dl.figures dd.n").first.inner_text()
    for _ in range(2):
        night.start_worker()
    night.end(incident)

    assert night.faults(incident) == []
    assert due not in ("0", "")


def test_resumes_a_forgotten_pause_from_its_notice(night: Night, idle: Incident, leak: Leak) -> None:
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


def test_names_a_worker_that_was_killed_until_somebody_has_seen_it(night: Night) -> None:
    incident = night.begin("killed worker", "silent|stopped responding", within=30, most_clicks=1)
    night.kill(night.workers[0])
    night.see(incident)
    eventually(lambda: "stopped responding" in str(night.notes()[-1]))
    with night.acting(incident) as person:
        # For a moment the page of another web process may still say that it is silent.
        lost = incident.notice(person.page).filter(has_text="stopped responding")
        person.click(lost.get_by_role("button", name="Acknowledge"))
    night.end(incident)
    night.start_worker()

    assert night.faults(incident) == []


def test_names_an_idle_transaction_and_what_ends_it(night: Night, idle: Incident) -> None:
    night.see(idle)
    with night.acting(idle) as person:
        person.click(idle.notice(person.page).get_by_role("link", name="What to do"))
        at(person.page, f"{HOME}/database")
        night.sql(person.page.locator("main code, main pre", has_text="pg_terminate_backend").first.inner_text())
    night.end(idle)

    assert night.faults(idle) == []


def test_names_a_schedule_that_skips_before_its_fourth_tick_is_skipped(night: Night) -> None:
    rule = Rule({"kind": "sync_stock", "payload": {}}, every_seconds=20, overlap=Overlap.SKIP)
    # The first tick fires.
    incident = night.begin("skipping schedule", "stock-feed", within=5 * 20, most_clicks=2)
    put_schedule(night.conn, "stock-feed", rule, retention_days=30, actor="test")
    night.see(incident)
    with night.acting(incident) as person:
        person.click(incident.notice(person.page).get_by_role("link", name="Look").first)
        person.click(person.page.get_by_role("button", name=re.compile("^Pause")).first)
    night.end(incident)

    assert night.faults(incident) == []


def test_names_leaks_before_they_double_a_worker_and_processes_that_die(night: Night, leak: Leak) -> None:
    usual = eventually(lambda: leak.usual_bytes(night), 3 * PATIENCE)
    grows = night.begin("leak in a worker", "keeps growing", most_clicks=1)
    dies = night.begin("leak in a process", "[Ii]solated processes", most_clicks=1)
    leak.kilobytes = 400
    night.sql(PDFS)
    night.see(dies)
    with night.acting(dies) as person:
        person.click(dies.notice(person.page).get_by_role("button", name="Acknowledge"))
    night.end(dies)
    night.see(grows)
    size = resident(leak.worker.pid)
    with night.acting(grows) as person:
        person.click(grows.notice(person.page).get_by_role("link", name="Look").first)
        expect(person.page.locator("main")).to_contain_text("render_page")
    leak.restart(night)
    night.end(grows)

    assert night.faults(grows) == night.faults(dies) == []
    assert size is not None
    assert usual < size < 2 * usual


def test_mutes_an_error_and_mends_one_of_its_jobs(night: Night) -> None:
    incident = night.begin("error to mute", "error in charge_card", within=30, most_clicks=2)
    night.sql(CHARGES)
    night.see(incident)
    edit = night.begin("edit and retry", "no notice", most_clicks=4)
    with night.acting(edit) as person:
        page = person.page
        person.click(incident.notice(page).get_by_role("link", name="Look").first)
        person.click(page.get_by_role("link", name="View job"))
        person.click(page.get_by_role("link", name="Edit and retry"))
        page.locator("form [name$=order]").first.fill("4711")
        person.click(page.get_by_role("button", name="Retry with these changes"))
        eventually(
            lambda: night.sql("SELECT FROM haulier.finished_job WHERE kind = 'charge_card' AND status = 'succeeded'")
        )
    with night.acting(incident) as person:
        person.click(incident.notice(person.page).get_by_role("link", name="Look").first)
        person.click(person.page.get_by_role("button", name="Mute").first)
    night.end(incident)

    assert night.faults(incident) == edit.faults() == []


def test_moves_the_jobs_of_a_queue_from_its_page(night: Night) -> None:
    night.sql("INSERT INTO haulier.pause (queue) VALUES ('archive')")
    night.sql(ARCHIVE)
    incident = night.begin("move a queue", "no notice", most_clicks=4)
    with night.acting(incident) as person:
        page = person.page
        person.click(page.locator("main table").get_by_role("link", name="archive"))
        person.click(page.get_by_role("button", name="Move all"))
        page.locator("[name=to_queue]").fill("orders")
        person.click(page.get_by_role("button", name=re.compile("^Change .*[0-9]")))
        eventually(lambda: not night.sql("SELECT FROM haulier.job WHERE queue = 'archive'"))

    assert incident.faults() == []


def test_names_a_flood_and_cancels_it_by_four_clicks(night: Night) -> None:
    incident = night.begin("flood of 300,000", "tenant-globex", within=60, most_clicks=4)
    night.sql(FLOOD)
    night.see(incident)
    with night.acting(incident) as person:
        page = person.page
        person.click(incident.notice(page).get_by_role("link", name="Queue").first)
        person.click(page.get_by_role("button", name="Cancel all").first)
        person.click(page.get_by_role("button", name=re.compile("^Cancel .*[0-9]")))
        said = progress(page, 0.4)
        expect(page.locator("main")).to_contain_text("It has ended", timeout=4 * PATIENCE * 1000)
        took = time.time() - said.at
    night.end(incident)

    assert night.faults(incident) == []
    assert 0.5 <= said.seconds_left / took <= 2


def test_leads_from_a_bad_deploy_to_one_retry_of_all(night: Night) -> None:
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
        person.click(page.get_by_role("button", name=re.compile("^Retry .*[0-9]")))
        expect(page.locator("main")).to_contain_text("It has ended")
    night.end(incident)

    assert night.faults(incident) == []
    failed = "SELECT FROM haulier.finished_job WHERE queue = 'shipping' AND status = 'failed_permanent' LIMIT 1"
    eventually(lambda: not night.sql(failed))


def test_says_that_the_database_is_frozen_and_recovers(night: Night) -> None:
    incident = night.begin("frozen database", "out of date")
    live = night.watch.locator("[data-live-toggle]")
    with frozen(night.conn):
        expect(live).to_contain_text("Out of date")
        incident.seconds, incident.place = round(time.time() - incident.began_at, 1), 1
    expect(live).to_have_text("Live")

    assert night.faults(incident) == []
