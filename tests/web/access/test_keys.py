"""The pages of API keys and of the audit: it ..."""

from __future__ import annotations

import csv
import re
from urllib.parse import urlencode

from flask import Flask
from psycopg2.extensions import connection as Connection

from app.web.pages.audit import _cell
from haulier.domain.api_key import TOKEN, Scope, hash_of
from haulier.domain.operation import OperationAction
from haulier.queue import jobs as job_acts
from haulier.queue.access import api_keys
from haulier.queue.failures.error_groups import id_in
from haulier.queue.jobs.change import Changes
from haulier.queue.operations.operations import Order, start
from haulier.queue.queues.pauses import pause
from haulier.queue.search.job_filter import JobFilter
from tests.http.callers import MakeKey
from tests.web.browsing import Browser, Element, SignedIn, check_each, faults, new_key, read
from tests.web.jobs import enqueue, fail

LIST, NEW = "/ui/keys", "/ui/keys/new"
# Seconds from now: when it was opened, when it was last used, and when it ends.
OPENED = """
    UPDATE haulier.session
    SET created_at = now() + make_interval(secs => %s), seen_at = now() + make_interval(secs => %s),
        expires_at = now() + make_interval(secs => %s)
    WHERE hash = %s
"""
HOUR = 3600


def shown(text: str) -> str:
    found = re.search(TOKEN.pattern, text)
    assert found
    return found[0]


def test_makes_a_key_once_and_shows_it_this_once(browser: Browser, sql, caplog) -> None:
    caplog.set_level("DEBUG")
    page, sent = browser.page(NEW), {"name": "shop", "scopes": ["enqueue", "read"], "queues": "mail, bulk"}

    made = browser.send(page, NEW, **sent, rate_limit="50", days="7")
    again = browser.refused(page, NEW, 409, **sent)

    token = shown(made.text)
    assert (made.status_code, faults(read(made.text))) == (201, [])
    assert made.headers["Cache-Control"] == "no-store"
    stored = "SELECT scopes, queues, rate_limit, expires_at IS NOT NULL FROM haulier.api_key WHERE name = 'shop'"
    assert sql(stored) == [(["enqueue", "read"], ["bulk", "mail"], 50.0, True)]
    assert Browser(browser.client.application).sign_in(token).status_code == 303
    others = [browser.get(path).text for path in (LIST, "/ui/audit", "/ui/audit.csv", f"{LIST}/{token[4:16]}")]
    assert [text for text in (*others, caplog.text) if token in text or token[17:] in text] == []
    assert "shop" in others[0]
    assert f"This form was already sent: the API key {token[4:16]}" in again.text
    assert TOKEN.search(again.text) is None
    assert browser.send(again, NEW, **sent).status_code == 201


def test_rotates_a_key_once_and_revokes_it_by_its_name(
    browser: Browser, conn: Connection, make_key: MakeKey, sql
) -> None:
    key, old = new_key(make_key, Scope.READ)
    path = f"{LIST}/{key.id}"
    page = browser.page(path)

    rotated = browser.send(page, f"{path}/rotate", hours="24")
    again = browser.refused(page, f"{path}/rotate", 409, hours="24")
    at_once = browser.send(page, f"{path}/rotate", hours="0")
    found = api_keys.find(conn, key.id)
    second = browser.send(again, f"{path}/rotate", hours="0")
    browser.refused(browser.page(path), f"{path}/revoke", confirm="test")
    revoked = browser.send(browser.page(path), f"{path}/revoke", confirm="tests")

    assert found
    assert [found.key.is_opened_by(token) for token in (old, shown(rotated.text))] == [True, True]
    assert (rotated.status_code, faults(read(rotated.text))) == (200, [])
    assert ("rotated in the meantime" in again.text, at_once.status_code, second.status_code) == (True, 409, 200)
    assert (revoked.status_code, revoked.headers["Location"]) == (303, LIST)
    assert sql("SELECT revoked_at IS NOT NULL FROM haulier.api_key WHERE id = %s", key.id) == [(True,)]
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'rotate_key'") == [(2,)]
    assert browser.get(path).status_code == 404
    assert "Revoked" in browser.page(LIST).rows()[key.id].text


def test_shows_where_the_new_jobs_of_a_key_go_and_does_not_rotate_it_here(
    browser: Browser, make_key: MakeKey, sql
) -> None:
    key, _ = new_key(make_key, Scope.READ)
    sql("UPDATE haulier.api_key SET moved_to = 2 WHERE id = %s", key.id)
    path = f"{LIST}/{key.id}"

    page = browser.page(path)
    refused = browser.refused(page, f"{path}/rotate", 409, hours="24")

    assert "Moved to cell 2" in browser.page(LIST).rows()[key.id].text
    assert "New jobs" in page.text
    assert "cell 2 takes the new jobs" in refused.text
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'rotate_key'") == [(0,)]


def listed(page: Element) -> list[str]:
    [card] = [each for each in page.all("section") if each.attrs.get("aria-labelledby") == "sessions"]
    return [row.text for row in card.all("tr")[1:]]


def opened(site: Flask, token: str) -> str:
    browser = Browser(site)
    browser.sign_in(token)
    cookie = browser.cookie("haulier")
    assert cookie is not None
    return cookie


def test_lists_the_sessions_that_are_good_and_nothing_that_opens_one(
    browser: Browser, site: Flask, make_key: MakeKey, sql, monkeypatch
) -> None:
    key, token = new_key(make_key, Scope.READ)
    path = f"{LIST}/{key.id}"
    none = browser.page(path)
    used, new, over = (opened(site, token) for _ in range(3))
    sql(OPENED, -3 * HOUR, -2 * HOUR, 5 * HOUR, hash_of(used))
    sql(OPENED, -3 * HOUR, -HOUR, -1, hash_of(over))

    page, text = browser.page(path), browser.get(path).text
    monkeypatch.setattr("app.web.pages.keys.MOST_SESSIONS", 1)
    browser.forget()
    short = browser.page(path)

    assert (listed(none), "Nobody is signed in with it." in none.text) == ([], True)
    first, second = listed(page)
    assert re.fullmatch(r"(now|\d+ s ago) (now|\d+ s ago) in 11 h", first)
    assert re.fullmatch(r"3 h ago 2 h ago in 4 h", second)
    assert (len(listed(short)), "and 1 more" in short.text) == (1, True)
    hidden = [each for secret in (used, new, over, token) for each in (secret, hash_of(secret).hex())]
    assert [each for each in hidden if each in text] == []


def test_ends_all_sessions_of_ones_own_key_and_records_it(
    site: Flask, make_key: MakeKey, signed_in: SignedIn, sql
) -> None:
    key, token = new_key(make_key, Scope.ADMIN)
    own, lost, other = Browser(site), Browser(site), signed_in(Scope.READ)
    for each in (own, lost):
        each.sign_in(token)
    path = f"{LIST}/{key.id}"

    page = own.page(path)
    ended = own.send(page, f"{path}/sign-out")

    assert "You are signed in with this key" in page.text
    assert (ended.status_code, ended.headers["Location"]) == (303, "/ui/sign-in")
    assert own.cookie("haulier") is None
    assert [each.get("/ui/help").status_code for each in (own, lost, other)] == [303, 303, 200]
    assert sql("SELECT key_id FROM haulier.session") == [(other.key.id,)]
    recorded = sql("SELECT actor, key_id FROM haulier.audit WHERE action = 'sign_out'")
    assert recorded == [(key.id, key.id)]


def test_ends_no_session_of_another_key_and_says_what_does(
    browser: Browser, site: Flask, make_key: MakeKey, sql
) -> None:
    key, token = new_key(make_key, Scope.READ)
    opened(site, token)
    path = f"{LIST}/{key.id}"

    texts = [browser.page(path).text, (refused := browser.act(f"{path}/sign-out")).text]

    assert (refused.status_code, ["rotate the key" in text for text in texts]) == (409, [True, True])
    assert sql("SELECT count(*) FROM haulier.session") == [(2,)]
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'sign_out'") == [(0,)]


# The audit


AUDIT = "/ui/audit"


def test_shows_what_was_done_with_what_changed(browser: Browser, conn: Connection) -> None:
    empty = browser.page(AUDIT)
    job = enqueue(conn)
    job_acts.change(conn, job, Changes.of(priority=7), actor="ops-anna")
    job_acts.cancel(conn, job, actor="ops-bert")
    browser.forget()

    page = browser.page(AUDIT)

    newest, before, *_ = [row.text for row in page.rows().values()]
    assert "created an API key tests name: tests" in empty.text
    assert "ops-bert cancelled a job" in newest
    assert "priority: 0 → 7" in before
    assert page.all("a", href=f"/ui/jobs/{job}")


def test_says_acts_as_people_do(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "No route to the shop")
    assert browser.key
    browser.act("/ui/schedules/new", name="nightly", cron="0 2 * * *", kind="summarize_text", payload='{"text": "A."}')
    browser.act("/ui/schedules/nightly/pause", **{"for": ""})
    browser.act(f"/ui/failures/{group}/mute", **{"for": "1h"})
    start(conn, Order(OperationAction.RETRY, JobFilter(error_id=id_in(group))), as_of=None, actor=browser.key.id)
    browser.forget()

    retried, muted, paused, created, *_ = [row.text for row in browser.page(AUDIT).rows().values()]

    assert re.search("tests started a bulk retry [0-9a-f-]{36} error No route to the shop 1 job$", retried)
    assert re.search("muted an error No route to the shop until 20", muted)
    assert re.search("paused a schedule nightly until resumed$", paused)
    assert re.search("created a schedule nightly .*cron: 0 2 [*] [*] [*]", created)


def test_names_whoever_acted_by_the_key_unless_it_may_use_other_queues(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    mailer = signed_in(Scope.OPERATE, Scope.READ, queues=["mail"])
    assert browser.key
    assert mailer.key
    keys = {"ops-anna": browser.key.id, "mail-bert": mailer.key.id}
    for name, key in keys.items():
        sql("UPDATE haulier.api_key SET name = %s WHERE id = %s", name, key)
    pauses = [("mail", browser.key.id), ("bulk", mailer.key.id), ("cli", "cli")]
    for queue, actor in pauses:
        pause(conn, queue, actor=actor)
    of_mail = Order(OperationAction.CANCEL, JobFilter(), ["mail"])
    job, operation = enqueue(conn, queue="mail"), start(conn, of_mail, as_of=None, actor=mailer.key.id)
    job_acts.change(conn, job, Changes.of(priority=7), actor=browser.key.id)
    browser.forget()

    def names(viewer: Browser, path: str) -> set[str]:
        return {each.text for each in viewer.page(path).all("bdi")} & {*keys, *keys.values(), "command line"}

    assert names(browser, "/ui/queues/mail") == {"ops-anna"}
    assert names(browser, "/ui/queues/bulk") == {"mail-bert"}
    assert names(browser, "/ui/queues/cli") == {"command line"}
    assert names(browser, f"/ui/jobs/{job}") == {"ops-anna"}
    assert names(browser, AUDIT) == {"ops-anna", "mail-bert", "command line"}
    assert {each.attrs["title"] for each in browser.page("/ui/queues/mail").all("bdi")} == {keys["ops-anna"]}
    found = browser.page(f"{AUDIT}?actor=mail-bert").rows().values()
    assert {row.all("td")[1].text for row in found} == {"mail-bert"}
    # A key of some queues knows the names of keys that may use no others.
    for path in ("/ui/operations", f"/ui/operations/{operation.id}"):
        assert names(mailer, path) == {"mail-bert"}
    assert names(mailer, "/ui/queues/mail") == {keys["ops-anna"]}


def test_finds_the_acts_of_a_key_by_its_id_although_another_is_called_so(
    browser: Browser, make_key: MakeKey, conn: Connection, sql
) -> None:
    assert browser.key
    other, _ = make_key(Scope.OPERATE)
    sql("UPDATE haulier.api_key SET name = %s WHERE id = %s", browser.key.id, other.id)
    for queue, actor in (("mail", browser.key.id), ("bulk", other.id)):
        pause(conn, queue, actor=actor)

    paused = [row.text for row in browser.page(f"{AUDIT}?actor={browser.key.id}&action=pause").rows().values()]

    assert [("mail" in text, "bulk" in text) for text in paused] == [(True, False)]


def test_shows_and_writes_the_entries_that_match_a_filter(browser: Browser, conn: Connection) -> None:
    jobs = {actor: enqueue(conn) for actor in ("ops-anna", "ops-bert")}
    for actor, job in jobs.items():
        job_acts.cancel(conn, job, actor=actor)

    def both(query: dict[str, str]) -> tuple[list[str], list[str]]:
        text = browser.get(f"/ui/audit.csv?{urlencode(query)}").text
        written = sorted(row["actor"] for row in csv.DictReader(text.splitlines()))
        rows = browser.page(f"{AUDIT}?{urlencode(query)}").rows().values()
        return sorted(row.all("td")[1].text for row in rows), written

    anna, either = ["ops-anna"], ["ops-anna", "ops-bert"]
    check_each(
        both,
        ({"actor": "ops-anna"}, (anna, anna)),
        ({"action": "cancel"}, (either, either)),
        ({"action": "cancel", "actor": "ops-bert"}, (["ops-bert"], ["ops-bert"])),
        ({"action": "retry"}, ([], [])),
        ({"after": "1h", "action": "cancel"}, (either, either)),
        ({"before": "1h"}, ([], [])),
        ({"job": str(jobs["ops-anna"])}, (anna, anna)),
    )
    # What it does not understand it says and ignores.
    for query in ("job=x", "after=soon", "before=soon", "action=dance"):
        page = browser.page(f"{AUDIT}?{query}")
        assert ("Ignored: " in page.text, page.rows() != {}) == (True, True), query


def test_lets_no_spreadsheet_take_a_cell_for_a_formula() -> None:
    assert [_cell(text) for text in ("=1+1", "@x", "plain")] == ["'=1+1", "'@x", "plain"]
