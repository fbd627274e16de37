"""Notices that somebody has acknowledged: folded away until they get worse, end, or a day has passed."""

from __future__ import annotations

import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import make_dsn

from haulier.domain.api_key import Scope
from tests.web.browsing import Browser, Element, MakeSite, SignedIn
from tests.web.jobs import counted, enqueue, register
from tests.web.overview import fresh, headlines

FAILED = """
    INSERT INTO haulier.rollup (queue, at, step, kind, succeeded, failed)
    SELECT %s, now() - interval '1 minute', 60, 'send_email', 0, 30
"""
OLD = "UPDATE haulier.acknowledged SET at = now() - %s::interval"


def failing(sql, *queues: str) -> None:
    for queue in queues:
        sql(FAILED, queue)
    fresh(sql)


def acknowledge(browser: Browser, text: str, verb: str = "acknowledge") -> str:
    """Press the button of the notice with this text; return the path of the form."""
    page = browser.page("/ui")
    [notice] = [
        each
        for each in page.all("div")
        if each.attrs.get("class", "").startswith("notice") and each.all("strong")[0].text.find(text) >= 0
    ]
    [path] = [each for each in notice.actions() if each.endswith(f"/{verb}")]
    browser.act(path)
    return path


def told(browser: Browser) -> tuple[bool, bool]:
    """Return whether the notice of failing queues is shown, and whether it is among those that were acknowledged."""
    browser.forget()
    page = browser.page("/ui")
    folded = [text for each in page.all("details", id="acknowledged") for text in headlines(each)]
    return sum(" failed in the last 10" in text for text in headlines(page)) > len(folded), bool(folded)


def folded(page: Element) -> str:
    return page.one("details", id="acknowledged").text


def test_shows_an_acknowledged_notice_again_once_it_gets_worse(browser: Browser, conn: Connection, sql) -> None:
    for queue in ("mail", "hooks"):
        enqueue(conn, queue=queue)
    register(conn)
    counted(conn)
    failing(sql, "mail")
    assert told(browser) == (True, False)

    acknowledge(browser, "failed in the last 10 minutes")
    assert told(browser) == (False, True)
    assert "30 jobs in queue mail failed" in folded(browser.page("/ui"))
    assert f"Acknowledged by {browser.key.name}" in folded(browser.page("/ui"))
    sql("UPDATE haulier.rollup SET failed = 99 WHERE failed > 0")
    assert told(browser) == (False, True)
    sql("UPDATE haulier.rollup SET failed = 100 WHERE failed > 0")
    assert told(browser) == (True, False)

    acknowledge(browser, "failed in the last 10 minutes")
    failing(sql, "hooks")
    assert told(browser) == (True, False)
    sql("DELETE FROM haulier.rollup WHERE queue = 'hooks'")
    assert told(browser) == (False, True)
    sql(OLD, "1 day")
    assert told(browser) == (True, False)


def test_shows_an_acknowledged_notice_again_if_it_ends_and_comes_back(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    register(conn)
    counted(conn)
    failing(sql, "mail")
    acknowledge(browser, "failed in the last 10 minutes")
    sql(OLD, "2 minutes")
    assert told(browser) == (False, True)

    sql("DELETE FROM haulier.rollup")
    assert told(browser) == (False, False)
    failing(sql, "mail")

    assert told(browser) == (True, False)


def test_forgets_no_acknowledgement_on_a_dashboard_that_changes_nothing(
    signed_in: SignedIn, make_site: MakeSite, conn: Connection, sql
) -> None:
    register(conn)
    acknowledge(signed_in(Scope.ADMIN), "Nothing has been counted yet")
    sql(OLD, "2 minutes")
    counted(conn)
    fresh(sql)
    known = "SELECT rule FROM haulier.acknowledged"

    left = []
    for dashboard in ("read", "on"):
        signed_in(Scope.ADMIN, app=make_site(dashboard=dashboard)).page("/ui")
        left.append(sql(known))

    assert left == [[("old_numbers",)], []]


def test_undoes_an_acknowledgement_and_records_both(browser: Browser, conn: Connection, sql) -> None:
    register(conn)
    path = acknowledge(browser, "Nothing has been counted yet")
    assert "Nothing new needs attention." in browser.page("/ui").text

    acknowledge(browser, "Nothing has been counted yet", "show")
    again = browser.act(path.replace("acknowledge", "nonsense"))
    browser.act("/ui/notices/0123456789ab/acknowledge")

    assert again.status_code == 404
    page = browser.page("/ui")
    assert headlines(page)[0] == "Nothing has been counted yet"
    assert "the notice has changed meanwhile" in page.text
    notice = {"notice": "Nothing has been counted yet"}
    assert sql("SELECT actor, action, target, details FROM haulier.audit WHERE action ~ 'ack|show' ORDER BY id") == [
        (browser.key.id, act, "old_numbers", notice) for act in ("acknowledge", "show_again")
    ]


def test_folds_a_notice_only_for_those_who_see_no_more(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    own, same = signed_in(Scope.READ, Scope.OPERATE, queues=["mail"]), signed_in(Scope.READ, queues=["mail"])
    other = signed_in(Scope.READ, queues=["hooks"])
    for queue in ("mail", "hooks"):
        enqueue(conn, queue=queue)
    register(conn)
    counted(conn)
    failing(sql, "mail")

    acknowledge(own, "failed in the last 10 minutes")
    assert [told(each) for each in (own, same, browser, other)] == [
        (False, True), (False, True), (True, False), (False, False)
    ]  # fmt: skip
    assert "Acknowledged by" not in folded(same.page("/ui"))
    acknowledge(browser, "failed in the last 10 minutes")
    acknowledge(own, "failed in the last 10 minutes", "show")
    failing(sql, "hooks")

    assert [told(each) for each in (own, browser, other)] == [(False, True), (True, False), (True, False)]
    assert own.page("/ui").one("details", id="acknowledged").all("button", disabled="") != []
    # Of a key for other queues as well it sees the id.
    text = folded(own.page("/ui"))
    assert (f"Acknowledged by {browser.key.id}" in text, browser.key.name in text) == (True, False)


@pytest.mark.direct("sets something for its session")
def test_shows_the_overview_of_a_database_that_takes_no_writes(make_site: MakeSite, database: str, sql) -> None:
    sql("INSERT INTO haulier.acknowledged (rule, thing, sight, size) VALUES ('late', 'mail', '', 1)")
    sql(OLD, "1 hour")
    read_only = make_dsn(database, options="-c default_transaction_read_only=on")

    left = []
    for url in (read_only, database):
        page = Browser(make_site(database_url=url, auth="off")).page("/ui")
        left.append((headlines(page)[0], sql("SELECT count(*) FROM haulier.acknowledged")))

    # What is over could not be forgotten.
    assert left == [("Nothing has been counted yet", [(1,)]), ("Nothing has been counted yet", [(0,)])]
