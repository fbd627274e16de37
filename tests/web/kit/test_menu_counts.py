"""The counts beside the links of the menu, for pages and for polls: it ..."""

from __future__ import annotations

import json

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue.health import menu_counts
from tests.web.browsing import Browser, Element, SignedIn
from tests.web.jobs import claim, counted, enqueue, fail, register
from tests.web.overview import fresh


def shown(page: Element) -> dict[str, str]:
    counts = {each.attrs["data-count"]: each.text for each in page.all("span") if "data-count" in each.attrs}
    return {name: text for name, text in counts.items() if text}


def test_counts_what_the_viewer_may_see(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql, monkeypatch
) -> None:
    own, operates = signed_in(Scope.READ, queues=["mail"]), signed_in(Scope.OPERATE)
    fail(conn, "no luck", queue="hooks", times=2)
    fail(conn, "no luck", queue="mail")
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
    for queue in ("mail", "hooks"):
        enqueue(conn, queue=queue)
        claim(conn, queue)
        enqueue(conn, queue=queue)
    register(conn, "hooks")
    sql("UPDATE haulier.job SET run_at = now() - interval '1 hour' WHERE status = 'queued'")
    counted(conn)
    fresh(sql)

    every, some = shown(browser.page("/ui/help")), shown(own.page("/ui/help"))

    assert every == {
        "running": "2 running",
        "failures": "3 failed in the last hour",
        "queues": "2 late",
        "workers": "3 alive",
    }
    assert some == {
        "running": "1 running",
        "failures": "1 failed in the last hour",
        "queues": "1 late",
        "workers": "1 alive",
    }
    assert shown(operates.page("/ui/operations")) == {}
    monkeypatch.setattr(menu_counts, "MOST_COUNTS", 1)
    browser.forget()
    assert shown(browser.page("/ui/help"))["failures"].partition(" ")[0][-1] == "+"


def test_leaves_out_what_is_unknown_and_tells_polls(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn)
    claim(conn)
    counted(conn)
    fresh(sql)
    seen = browser.seen("/ui/kinds")
    sql("UPDATE haulier.counting SET through = now() - interval '5 minutes', depth_at = now() - interval '5 minutes'")

    before = browser.get("/ui/kinds", Haulier_Live=seen).headers["Haulier-Counts"]
    browser.forget()
    after = browser.get("/ui/kinds", Haulier_Live=seen).headers["Haulier-Counts"]

    assert json.loads(before) == {"running": "1 running", "workers": "1 alive"}
    assert json.loads(after) == {"workers": "1 alive"}
    assert shown(browser.page("/ui/kinds")) == {"workers": "1 alive"}
