"""What fails as much as it usually does: it ..."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.queue import consume
from haulier.queue.produce.recent import usual_shares
from tests.web.browsing import Browser
from tests.web.jobs import counted, enqueue
from tests.web.overviews import PLANTED, fresh, told, word


@pytest.mark.parametrize(
    ("age", "before", "is_said"),
    [
        ("3 days", (88, 12), False),
        ("3 days", (99, 1), True),
        # What failed since yesterday is what fails now, and not what is usual.
        ("20 hours", (88, 12), True),
        ("8 days", (88, 12), True),
        # Nineteen jobs are too few to tell by.
        ("3 days", (16, 3), True),
        ("3 days", (17, 3), False),
    ],
)
def test_says_that_a_queue_fails_where_it_fails_more_than_usually(
    browser: Browser, conn: Connection, sql: Any, age: str, before: tuple[int, int], is_said: bool
) -> None:
    enqueue(conn, queue="mail")
    consume.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=600)
    counted(conn)
    fresh(sql)
    sql(PLANTED, "mail", age, 3600, *before)
    sql(
        "INSERT INTO haulier.rollup (queue, at, step, kind, succeeded, failed)"
        " SELECT 'mail', now() - interval '1 minute', 60, 'send_email', 88, 30"
    )

    pages = [browser.page(path) for path in ("/ui", "/ui/queues")]

    assert [text for text in told(pages[0]) if "in the queue mail failed" in text] == [
        "30 jobs in the queue mail failed for good in the last 10 minutes (25 %)"
    ] * is_said
    assert [word(page, "mail") for page in pages] == ["Failing" if is_said else "Well"] * 2
    assert ("Failing" in browser.page("/ui/queues/mail").all("div", class_="title")[0].text) is is_said


def test_tells_the_share_of_each_queue_that_is_asked_for(conn: Connection, sql: Any) -> None:
    counted(conn)
    fresh(sql)
    for name, ends in {"mail": (15, 5), "hooks": (20, 0), "other": (0, 30)}.items():
        sql(PLANTED, name, "3 days", 3600, *ends)

    assert usual_shares(conn, ["mail", "hooks", "absent"]) == {"mail": 0.25, "hooks": 0.0}
