"""Every call by every entrance: what a guard refuses is refused with its status, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from app.http.routes import Entry, routes_of
from app.web.kit import cookies
from haulier.domain.api_key import ApiKey, Scope, hash_of
from haulier.postgres.statements import bounded, rows_at_once
from haulier.queue.access import sessions
from tests.http.callers import MakeKey, door_of
from tests.web.browsing import Browser, MakeSite, check_each, new_key
from tests.web.calls import Call, Caller, calls_of
from tests.web.world import World, changed, digests, make_world

# What a page that is looked at may bring up to date, and what guards themselves write.
BESIDE = ("rollup", "depth", "moved", "counting", "deployment", "error_count", "preview", "rate_budget", "api_key")
OTHERS_SITE: tuple[dict[str, str], ...] = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
)

# Acts that need no table but that of keys and that of sessions.
WITHOUT_TABLES = {"/schedules/preview", "/ui/<path:rest>", "/ui/settings", "/ui/settings/theme"}
WITHOUT_TABLES |= {"/ui/sign-out", "/ui/keys/<key_id>/sign-out"}

Enter = Callable[..., Caller]


@pytest.fixture
def world(conn: Connection) -> World:
    made = make_world(conn, "mail")
    made.names["token"] = "nonsense"
    return made


@pytest.fixture
def enter(conn: Connection, site: Flask, make_key: MakeKey, world: World) -> Enter:
    """Give a function that returns a caller with a new key of these scopes, and a session of it."""

    def enter(*scopes: Scope, app: Flask = site, **options: object) -> Caller:
        key, token = new_key(make_key, *scopes, **options)
        session = sessions.open_session(conn, key_id=key.id, key_hash=hash_of(token), idle_seconds=600)
        browser = Browser(app, key)
        browser.client.set_cookie("haulier", session)
        return Caller(browser, world, {"Authorization": f"Bearer {token}"}, cookies.signed(session, "csrf"))

    return enter


def stranger_at(app: Flask, world: World) -> Caller:
    """Return a caller without a key, whose browser has a cookie of its own."""
    browser = Browser(app)
    browser.get("/ui/sign-in")
    browser.get("/ui/settings")
    return Caller(browser, world, {}, cookies.signed(browser.cookie("haulier-anonymous") or "", "csrf"))


@contextmanager
def unchanged(sql) -> Iterator[None]:
    """Check that nothing that is stored changes during the block."""
    before = digests(sql, *BESIDE)
    yield
    assert changed(before, digests(sql, *BESIDE)) == set()


def statuses(caller: Caller, calls: Iterable[Call], headers: dict[str, str] | None = None, **options: Any) -> set[Any]:
    """Return the calls with the status of each; to be compared with `all_are`."""
    return {(call.method, call.rule, caller.make(call, headers, **options).status_code) for call in calls}


def all_are(status: int, calls: Iterable[Call]) -> set[Any]:
    return {(call.method, call.rule, status) for call in calls}


def test_knows_every_call(site: Flask) -> None:
    routes = {at for at in routes_of(site) if at[0] not in ("HEAD", "OPTIONS")}

    assert {(call.method, call.rule) for call in calls_of(site)} == routes


def test_answers_every_call_that_no_guard_refuses(enter: Enter, site: Flask, conn: Connection) -> None:
    by_key, by_session, stranger = enter(Scope.ADMIN), enter(Scope.ADMIN), stranger_at(site, World("", {}))
    by_session.world = make_world(conn, "salmon")
    stranger.world.names["token"] = by_key.headers["Authorization"].partition(" ")[2]
    *calls, sign_in = calls_of(site)

    found = {(call.method, call.rule): (by_session if call.is_of_pages else by_key).make(call) for call in calls}
    signed_in = stranger.make(sign_in)

    refused = {at: answer.status_code for at, answer in found.items() if answer.status_code >= 400}
    assert refused == {
        **dict.fromkeys([("GET", "/ui/"), ("GET", "/ui/<path:rest>"), ("POST", "/ui/<path:rest>")], 404),
        # No worker has counted it.
        ("GET", "/queues/<name>"): 404,
        # One's own sessions end by it, and no others.
        ("POST", "/ui/keys/<key_id>/sign-out"): 409,
    }
    assert (sign_in.rule, signed_in.headers["Location"]) == ("/ui/sign-in", "/ui")


def test_a_moved_key_makes_no_new_jobs_by_any_entrance(enter: Enter, site: Flask, sql) -> None:
    caller = enter(Scope.ADMIN)
    sql("UPDATE haulier.api_key SET moved_to = 2 WHERE id = %s", caller.browser.key.id)
    [[before]] = sql("SELECT count(*) FROM haulier.jobs")
    *calls, _ = [call for call in calls_of(site) if call.changes]
    deleting = [call for call in calls if call.method == "DELETE" or "delete" in call.path]

    answers = {(call.method, call.rule): caller.make(call) for call in calls if call not in deleting}

    refused = {at: answer for at, answer in answers.items() if answer.status_code == 503}
    assert set(refused) == {
        ("POST", "/jobs"),
        ("POST", "/jobs/batch"),
        ("POST", "/jobs/<uuid:job_id>/copy"),
        ("POST", "/schedules/<name>/run"),
        ("POST", "/ui/jobs/new"),
        ("POST", "/ui/jobs/<uuid:job_id>/copy"),
        ("POST", "/ui/schedules/<name>/run"),
    }
    assert {answer.headers["Retry-After"] for answer in refused.values()} == {"1"}
    assert all("cell 2 takes the new jobs" in answer.text.lower() for answer in refused.values())
    assert sql("SELECT count(*) FROM haulier.jobs") == [(before,)]


def test_every_route_states_its_guards(site: Flask) -> None:
    calls = calls_of(site)

    for_anyone = {call.rule for call in calls if call.route.needs is Entry.ANYONE}
    assert for_anyone == {"/", "/health", "/health/live", "/ui/sign-in", "/ui/static/<path:name>"}
    assert [call.rule for call in calls if call.route.needs is Entry.READERS and call.changes] == []
    reads = {call.rule for call in calls if call.scopes and not call.changes and not call.route.is_slow}
    # Pages are slow; of the API's reads these lists are not, and some of those of one thing.
    assert [rule for rule in reads if rule.startswith("/ui")] == []
    assert {rule for rule in reads if "<" not in rule} == {"/schedules", "/operations", "/keys", "/metrics"}


def test_refuses_a_caller_without_a_key(site: Flask, world: World, sql) -> None:
    stranger = stranger_at(site, world)
    closed = [call for call in calls_of(site) if not call.is_public]
    of_pages = [call for call in closed if call.is_of_pages]
    of_api = [call for call in closed if not call.is_of_pages]

    with unchanged(sql):
        found, led = statuses(stranger, of_api), {stranger.make(call).headers["Location"] for call in of_pages}

    assert found == all_are(401, of_api)
    assert {place.partition("?")[0] for place in led} == {"/ui/sign-in"}


def test_refuses_a_key_of_some_queues_what_is_about_every_queue(site: Flask, enter: Enter, sql) -> None:
    calls = [call for call in calls_of(site) if call.route.every_queue]
    limited = enter(Scope.ADMIN, queues=["mail"])

    with unchanged(sql):
        found = statuses(limited, calls)

    assert len(calls) > 20
    assert found == all_are(403, calls)


def test_refuses_a_key_that_has_used_up_its_rate(site: Flask, enter: Enter, sql) -> None:
    calls = [call for call in calls_of(site) if not call.is_public]
    hasty = enter(Scope.ADMIN, rate_limit=0.01)
    assert hasty.make(calls[0]).status_code < 400

    with unchanged(sql):
        found = statuses(hasty, calls)
        answer = hasty.make(next(call for call in calls if call.rule == "/ui"))

    assert found == all_are(429, calls)
    assert (int(answer.headers["Retry-After"]) > 50, "reached its rate limit" in answer.text) == (True, True)


def test_takes_one_rate_for_the_api_the_dashboard_and_the_sign_in(site: Flask, enter: Enter, sql) -> None:
    hasty, stranger = enter(Scope.ADMIN, rate_limit=0.01), stranger_at(site, World("", {}))
    other = enter(Scope.ADMIN, rate_limit=0.01)
    calls = {(call.method, call.rule): call for call in calls_of(site)}
    api, page, sign_in = (calls["POST", rule] for rule in ("/jobs", "/ui/jobs/new", "/ui/sign-in"))
    [[before]] = sql("SELECT count(*) FROM haulier.jobs")

    found = [hasty.make(call).status_code for call in (page, api, page)]
    stranger.world.names["token"] = hasty.headers["Authorization"].partition(" ")[2]
    found.append(stranger.make(sign_in).status_code)
    stranger.world.names["token"] = other.headers["Authorization"].partition(" ")[2]
    signed_in = stranger.make(sign_in).status_code
    after_it = [other.make(call).status_code for call in (api, page)]

    assert (found, signed_in, after_it) == ([303, 429, 429, 429], 303, [429, 429])
    assert sql("SELECT count(*) FROM haulier.jobs") == [(before + 1,)]
    assert sql("SELECT count(*) FROM haulier.session WHERE key_id = %s", hasty.browser.key.id) == [(1,)]


def test_refuses_another_sites_page_with_a_session_or_without_keys(
    make_site: MakeSite, enter: Enter, world: World, sql
) -> None:
    app = make_site(auth="off")
    acts = [call for call in calls_of(app) if call.changes]
    of_pages = [call for call in acts if call.is_of_pages]

    for caller, calls, sent in (
        (stranger_at(app, world), acts, OTHERS_SITE),
        (enter(Scope.ADMIN), of_pages, (*OTHERS_SITE, {})),
    ):
        with unchanged(sql):
            found = [statuses(caller, calls, headers) for headers in sent]
        assert found == [all_are(403, calls)] * len(sent)


def test_asks_a_program_for_neither_of_the_headers(make_site: MakeSite, make_key: MakeKey, conn: Connection) -> None:
    world, own = World("mail", {"queue": "mail"}), {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}

    def paused(**settings: str) -> list[int]:
        app = make_site(**settings)
        program = Caller(Browser(app), world, {} if settings else make_key(Scope.ADMIN)[1])
        pause = next(call for call in calls_of(app) if call.rule == "/queues/<name>/pause")
        return [program.make(pause, sent).status_code for sent in ({}, own, OTHERS_SITE[0])]

    assert paused(auth="off") == paused(host="127.0.0.1") == [200, 200, 403]
    assert paused() == [200, 200, 200]


def test_refuses_a_body_that_is_too_long(site: Flask, enter: Enter, world: World, sql) -> None:
    caller, stranger = enter(Scope.ADMIN), stranger_at(site, world)
    calls = [call for call in calls_of(site) if not (call.is_public and not call.changes)]

    with unchanged(sql):
        found = {
            (call.method, call.rule, as_chunks, _sent_too_much(caller, call, as_chunks=as_chunks))
            for call in calls
            for as_chunks in (False, True)
        }
        at_sign_in = stranger.make(calls[-1], data=b"x" * (2**20 + 1)).status_code

    assert {each for each in found if each[3] != 413} == set()
    assert (calls[-1].rule, at_sign_in) == ("/ui/sign-in", 413)


def _sent_too_much(caller: Caller, call: Call, *, as_chunks: bool) -> int:
    body = BytesIO(b" " * (call.route.most_bytes + 1))
    if not as_chunks:
        return caller.make(call, json=None, data=body.getvalue()).status_code
    # As gunicorn's worker hands on a body that came in chunks.
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    options: dict[str, Any] = {"json": None, "data": None, "input_stream": body, "environ_overrides": chunked}
    return caller.make(call, **options).status_code


def test_refuses_a_slow_request_beside_as_many_as_the_caller_may_have(site: Flask, enter: Enter, sql) -> None:
    calls = [call for call in calls_of(site) if call.route.is_slow is True]
    busy, other = enter(Scope.ADMIN), enter(Scope.ADMIN)
    slow_requests = door_of(site).slow_requests
    key = busy.browser.key
    assert isinstance(key, ApiKey)
    for _ in range(slow_requests.most_of_one):
        slow_requests.enter(key.id)

    with unchanged(sql):
        found = statuses(busy, calls)
        answers = [busy.make(calls[0]), busy.make(calls[-1])]
    beside = {other.make(call).status_code for call in calls if not call.changes}
    slow_requests.leave(key.id)
    after = {busy.make(call).status_code for call in calls if not call.changes}

    assert len(calls) > 40
    assert found == all_are(429, calls)
    assert [answer.headers["Retry-After"] for answer in answers] == ["1"] * 2
    assert (beside, after) == ({200}, {200})


def test_refuses_a_slow_request_of_an_address_if_no_key_is_needed(make_site: MakeSite, world: World) -> None:
    app = make_site(auth="off")
    anybody, slow_requests = stranger_at(app, world), door_of(app).slow_requests
    slow_requests.enter("address 192.0.2.7")
    calls = [call for call in calls_of(app) if call.rule in ("/jobs/count", "/ui/jobs")]

    found = [
        {anybody.make(call, environ_overrides={"REMOTE_ADDR": address}).status_code for call in calls}
        for address in ("192.0.2.7", "192.0.2.8")
    ]

    assert found == [{429}, {200}]


def test_counts_a_list_as_slow_if_jobs_have_to_be_searched(site: Flask, enter: Enter) -> None:
    caller, slow_requests = enter(Scope.ADMIN), door_of(site).slow_requests
    slow_requests.enter(caller.browser.key.id)

    def status(query: str) -> int:
        return caller.browser.client.get(f"/jobs?{query}", headers=caller.headers).status_code

    searches = ("payload.to=a@b.c", "tag=x", "kind=none", "status=queued", "sort=due")
    slow = [(f"{limit}{query}", 429) for query in searches for limit in ("", "limit=10&")]
    check_each(status, ("", 200), ("limit=10", 200), *slow)


def test_leaves_a_thread_to_quick_requests(make_site: MakeSite, enter: Enter) -> None:
    app = make_site(web_threads=2)
    caller, slow_requests = enter(Scope.ADMIN, app=app), door_of(app).slow_requests
    calls = {call.rule: call for call in calls_of(app) if call.method == "GET"}
    slow_requests.enter("another caller")

    busy = [caller.make(calls[rule]) for rule in ("/ui/jobs", "/jobs/count")]
    quick = [caller.make(calls[rule]).status_code for rule in ("/ui/static/<path:name>", "/ui/help", "/kinds", "/jobs")]
    slow_requests.leave("another caller")

    assert [(each.status_code, each.headers["Retry-After"]) for each in busy] == [(503, "1")] * 2
    assert quick == [200] * 4
    assert caller.make(calls["/ui/jobs"]).status_code == 200


def test_gives_every_place_back(site: Flask, enter: Enter) -> None:
    caller, slow_requests = enter(Scope.ADMIN), door_of(site).slow_requests

    for call in (each for each in calls_of(site) if each.route.is_slow):
        caller.make(call)
        # What it cannot read.
        path = f"{call.path}{'&' if '?' in call.path else '?'}limit=x&page=x&span=x"
        caller.make(replace(call, path=path), json=None, data=b"{", content_type="text/html")

    assert slow_requests._running == {}


def test_ends_every_call_in_time_whatever_is_locked(
    site: Flask, enter: Enter, conn: Connection, sql, monkeypatch
) -> None:
    caller = enter(Scope.ADMIN)
    tables = sql(
        "SELECT string_agg('haulier.' || relname, ', ') FROM pg_class WHERE relnamespace = 'haulier'::regnamespace"
        # The tables by which it knows who calls: without them it answers no call.
        " AND relkind = 'r' AND relname NOT IN ('api_key', 'session', 'rate_budget', 'schema_version')"
    )
    calls = [call for call in calls_of(site) if not call.is_public]
    # In less time than usual, so that the test takes less, too: this waits for 3 s, whatever its block allows, and a
    # first act prepares its statements for up to 5 s.
    monkeypatch.setitem(rows_at_once.__kwdefaults__, "lock_seconds", 0.02)
    caller.make(next(call for call in calls if call.rule == "/jobs/<uuid:job_id>/cancel"))
    with conn.cursor() as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE {tables[0][0]} IN ACCESS EXCLUSIVE MODE")
        try:
            with bounded(seconds=0.05, lock_seconds=0.01):
                found = {(call.method, call.rule): caller.make(call).status_code for call in calls}
        finally:
            cursor.execute("ROLLBACK")

    acts = {rule: status for (method, rule), status in found.items() if method != "GET" and rule not in WITHOUT_TABLES}
    # An act on several things leads to a page that says what became of each.
    on_several = {rule for rule in acts if "/ticked/" in rule or "schedule-pauses" in rule}
    assert {rule for rule, status in acts.items() if status != 503} == on_several
    assert {status for at, status in found.items() if at[0] == "GET"} <= {200, 303, 404, 503}
