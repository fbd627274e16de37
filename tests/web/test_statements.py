"""How many statements a page sends to the database, when nothing of it has been read before: it ..."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.postgres import statements
from haulier.postgres.sql_files import SQL
from haulier.queue.produce.checks import THRESHOLDS
from tests.queue.schedules import plant
from tests.web.browsing import Browser
from tests.web.jobs import counted, fail, in_all_states

# Beside the one that finds the session.
MOST = 6
# The overview reads what changes slowly at most every 30 s; the checks of the database are one statement each or more,
# beside one of its tables.
MOST_OF_OVERVIEW, MOST_OF_CHECKS = 7, len(THRESHOLDS) + 4
BEGIN_AND_END = {"begin", "commit", "rollback"}
PAGES = [
    "/ui/jobs",
    "/ui/jobs?status=failed&limit=25",
    "/ui/jobs?queue=absent&kind=absent&status=queued",
    "/ui/jobs?status=running",
    "/ui/jobs?status=running&sort=started",
    "/ui/jobs?status=queued&status=retrying&queue=mail&sort=due",
    "/ui/running",
    "/ui/failures",
    "/ui/queues",
    "/ui/queues/mail",
    "/ui/kinds",
    "/ui/kinds?queue=mail",
    "/ui/kinds/send_email",
    "/ui/schedules",
    "/ui/schedules/nightly",
    "/ui/schedule-pauses",
    "/ui/workers",
    "/ui/operations",
    "/ui/keys",
    "/ui/audit",
    "/ui/settings",
    "/ui/jobs/new",
    "/ui/schedules/new",
    "/ui/help",
]


class Sent(list[str]):
    """The names of the statements that were sent."""

    def of(self, browser: Browser, path: str) -> int:
        """Return how many the page sends beside the one that finds the session, with nothing kept of it."""
        shelf = browser.client.application.extensions["haulier_shelf"]
        for asked in [each for each in shelf._kept if each[0] not in ("longest running", "checks", *SLOW)]:
            del shelf._kept[asked]
        self.clear()
        browser.page(path)
        return len([each for each in self if each not in BEGIN_AND_END | {"find_session", "touch_key"}])


# As facts.py keeps them.
SLOW = ("usual ends", "usual shares", "lately ended", "days", "overdue", "failing schedules")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Give the names of the statements that are sent from now on."""
    names, found, execute = {text: name for name, text in SQL.items()}, Sent(), statements._execute

    def noted(conn: Any, statement: str, *args: Any, **kwargs: Any) -> Any:
        bare = statement.removeprefix(SQL["bounded"] + "\n").removeprefix(SQL["locks_bounded"] + "\n")
        found.append(names.get(bare, statement))
        return execute(conn, statement, *args, **kwargs)

    monkeypatch.setattr(statements, "_execute", noted)
    return found


def test_sends_few_however_it_is_filled(browser: Browser, conn: Connection, sql: Any, sent: Sent) -> None:
    jobs = [f"/ui/jobs/{job}" for job in in_all_states(conn).values()]
    plant(sql, "nightly", every_seconds=3600)
    group = fail(conn, "Timeout: x", times=26)
    # Each would need somebody, if jobs of it are left.
    for word in ("Refused", "Broken", "Absent"):
        fail(conn, f"{word}: x", times=10)
    counted(conn)
    browser.page("/ui")
    others = [*jobs, f"/ui/failures/{group}", f"/ui/keys/{browser.key.id}"]

    found = {path: (sent.of(browser, path), list(sent)) for path in [*PAGES, *others]}

    assert {path: names for path, (count, names) in found.items() if count > MOST} == {}
    assert sent.of(browser, "/ui") <= MOST_OF_OVERVIEW, list(sent)
    assert sent.of(browser, "/ui/database") <= MOST_OF_CHECKS, list(sent)
