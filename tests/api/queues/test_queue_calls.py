"""GET /queues, /queues/{name} and /stats: what a worker has counted. And POST /queues/{name}/pause and /resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.span import SPANS
from haulier.queue.numbers import counts, depths
from tests.conftest import Sql
from tests.http.answers import pages
from tests.http.callers import MakeKey
from tests.queue.upkeep.histories import Made, begin, count_all, store

ENDED = ("succeeded", "failed_permanent", "cancelled")


@pytest.fixture(autouse=True)
def _nothing_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all that has been committed be old enough to be counted."""
    monkeypatch.setattr(counts, "LATE_SECONDS", -20.0)


@pytest.fixture
def past(conn: Connection, sql: Sql) -> Iterator[Connection]:
    """Give a connection to the database, with a history of some hours before today."""
    sql(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.finished_job_of_the_past PARTITION OF haulier.finished_job"
        " FOR VALUES FROM (%L) TO (%L)', now() - interval '9 days',"
        " date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'); END $$"
    )
    yield conn
    sql("DROP TABLE haulier.finished_job_of_the_past")


@pytest.fixture
def counted(past: Connection) -> Callable[..., None]:
    counter = begin(past)

    def counted(jobs: list[Made]) -> None:
        store(past, jobs)
        count_all(past, counter)
        depths.count_live(past)

    return counted


# Figures


def test_figures_and_series_are_those_of_the_jobs(client: FlaskClient, counted: Callable[..., None]) -> None:
    counted(
        [Made("default", "mail", status, 600, 1, 1, 2) for status in ENDED]
        + [Made("bulk", "mail", "succeeded", 1200, 1, 1)]
        + [Made("default", "hook", "succeeded", 3 * 3600, 1, 1)]
        + [Made("default", "mail", "queued", 30)]
    )

    answer = client.get("/stats").json

    keys = ("arrived", "succeeded", "failed", "cancelled", "attempts")
    assert [answer["totals"][key] for key in keys] == [5, 2, 1, 1, 7]
    # Within 12 % of the 1 s that each took.
    assert [answer["totals"]["run_seconds"][share] for share in ("p50", "p95", "p99")] == [
        pytest.approx(1, rel=0.12)
    ] * 3
    assert (answer["span"], answer["step_seconds"], len(answer["series"])) == ("1h", 60, 60)
    for key in keys:
        assert sum(step[key] for step in answer["series"]) == answer["totals"][key]
    assert (answer["waiting"], answer["due"], answer["deferred"], answer["running"]) == (1, 1, 0, 0)
    assert answer["oldest_due_seconds"] >= 30
    assert [step["due"] for step in answer["series"] if step["due"] is not None] == [1]
    assert answer["as_of"].endswith("Z")


def test_a_span_has_a_fixed_number_of_steps_without_a_gap(client: FlaskClient, counted: Callable[..., None]) -> None:
    counted([Made("default", "mail", "succeeded", 60, 1, 1)])
    for span, (seconds, step) in SPANS.items():
        answer = client.get(f"/stats?span={span}").json

        times = [datetime.fromisoformat(each["at"]) for each in answer["series"]]
        as_of = datetime.fromisoformat(answer["as_of"])
        assert len(times) == seconds // step <= 168
        assert {after - before for before, after in zip(times, times[1:], strict=False)} == {timedelta(seconds=step)}
        assert times[-1] < as_of <= times[-1] + timedelta(seconds=step)
        assert answer["totals"]["succeeded"] == 1


def test_figures_may_be_of_one_queue_and_of_one_kind(client: FlaskClient, counted: Callable[..., None]) -> None:
    pairs = [("default", "mail")] * 2 + [("default", "hook")] * 2 + [("bulk", "mail"), ("bulk", "hook")]
    counted([Made(queue, kind, "succeeded", 60, 1, 1) for queue, kind in pairs])
    arrived = {"": 6, "queue=default": 4, "kind=mail": 3, "queue=bulk&kind=hook": 1, "queue=none": 0, "kind=none": 0}

    totals = {query: client.get(f"/stats?{query}").json["totals"] for query in arrived}

    assert {query: each["arrived"] for query, each in totals.items()} == arrived
    assert {query: each["succeeded"] for query, each in totals.items()} == arrived
    nothing_ran = {query for query, each in totals.items() if each["run_seconds"]["p50"] is None}
    assert nothing_ran == {"queue=none", "kind=none"}


# Queues


def test_calls_no_queue_late_once_nobody_counts(client: FlaskClient, counted: Callable[..., None], sql: Sql) -> None:
    counted([Made("bulk", "mail", "queued", 3600)])

    late = [client.get("/queues/bulk").json["late"], 'haulier_queue_late{queue="bulk"}' in client.get("/metrics").text]
    sql("UPDATE haulier.counting SET through = now() - interval '2 minutes', depth_at = now() - interval '2 minutes'")
    stale = [client.get("/queues/bulk").json["late"], client.get("/queues").json[0]["late"]]

    assert (late, stale) == ([True, True], [False, False])


def test_queues_are_listed_with_their_live_jobs_and_their_last_minute(
    client: FlaskClient, counted: Callable[..., None], sql: Sql
) -> None:
    sql("INSERT INTO haulier.queue (name) VALUES ('idle')")
    waiting = [Made("default", "mail", "queued", 20), Made("default", "hook", "queued", -500)]
    counted(waiting + [Made("gone", "mail", status, 10, 1, 1) for status in ENDED])

    found = {queue["name"]: queue for queue in client.get("/queues").json}

    assert list(found) == ["default", "gone", "idle"]
    of_default = {key: found["default"][key] for key in ("waiting", "due", "deferred", "running")}
    assert of_default == {"waiting": 2, "due": 1, "deferred": 1, "running": 0}
    assert found["default"]["oldest_due_seconds"] >= 20
    assert found["gone"]["last_minute"] == {"arrived": 3, "succeeded": 1, "failed": 1, "cancelled": 1}
    assert found["idle"]["waiting"] == 0
    assert {(queue["paused"], queue["paused_until"]) for queue in found.values()} == {(False, None)}
    for name, queue in found.items():
        assert client.get(f"/queues/{name}").json | {"oldest_due_seconds": 0} == queue | {"oldest_due_seconds": 0}


def test_pages_of_queues_lead_to_the_end(client: FlaskClient, counted: Callable[..., None]) -> None:
    names = sorted({f"queue-{number}" for number in range(25)})
    counted([Made(name, "mail", "queued", 20) for name in names])

    found = [[queue["name"] for queue in page] for page in pages(client, "/queues?limit=10")]

    assert found == [names[:10], names[10:20], names[20:]]


def test_a_key_sees_its_own_queues_alone(closed: FlaskClient, make_key: MakeKey, counted: Callable[..., None]) -> None:
    _, shown = make_key(Scope.READ, queues=["mail", "bulk"])
    waiting = [Made(queue, "mail", "queued", 20) for queue in ("mail", "bulk", "other", "other")]
    counted(waiting + [Made(queue, "mail", "succeeded", 60, 1, 1) for queue in ("mail", "other", "other")])

    figures = [closed.get(f"/stats{query}", headers=shown).json for query in ("", "?queue=other", "?queue=mail")]

    assert [each["totals"]["arrived"] for each in figures] == [3, 0, 2]
    assert [each["waiting"] for each in figures] == [2, 0, 1]
    assert [queue["name"] for queue in closed.get("/queues", headers=shown).json] == ["bulk", "mail"]
    assert closed.get("/queues/mail", headers=shown).status_code == 200
    refused = closed.get("/queues/other", headers=shown)
    unknown = closed.get("/queues/unknown", headers=shown)
    assert (refused.status_code, unknown.status_code) == (404, 404)
    assert refused.json["message"].replace("other", "unknown") == unknown.json["message"]


SOON = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def state(queue: dict[str, Any]) -> tuple[bool, str | None]:
    return queue["paused"], queue["paused_until"]


def test_a_pause_without_an_end_is_shown_until_the_resume(client: FlaskClient) -> None:
    nothing = client.get("/stats").json
    assert [nothing[name] for name in ("as_of", "counted_at", "waiting", "series")] == [None, None, None, []]
    for body in ({}, {"json": {}}, {"json": {"until": None}}):
        paused = client.post("/queues/mail/pause", **body)
        shown, listed = client.get("/queues/mail"), client.get("/queues")
        resumed = client.post("/queues/mail/resume")

        assert (paused.status_code, state(paused.json)) == (200, (True, None))
        assert (shown.json, listed.json) == (paused.json, [paused.json])
        assert (resumed.status_code, state(resumed.json)) == (200, (False, None))
        assert (resumed.json["name"], resumed.json["waiting"]) == ("mail", None)
        assert (client.get("/queues").json, client.get("/queues/mail").status_code) == ([], 404)


def test_a_pause_shows_its_end_until_another_changes_it_or_it_ends(client: FlaskClient, sql: Sql) -> None:
    until = datetime.now(UTC).replace(microsecond=250) + timedelta(hours=1)

    first = client.post("/queues/mail/pause", json={"until": until.isoformat()})
    without, again = client.post("/queues/mail/pause"), client.post("/queues/mail/pause", json={"until": SOON})
    sql("UPDATE haulier.pause SET until = now()")

    assert state(first.json) == (True, f"{until:%Y-%m-%dT%H:%M:%S}.000250Z")
    assert state(without.json) == (True, None)
    assert again.json["paused_until"] not in (None, first.json["paused_until"])
    assert (client.get("/queues").json, client.get("/queues/mail").status_code) == ([], 404)


def test_a_key_of_some_queues_pauses_only_these(closed: FlaskClient, make_key: MakeKey, sql: Sql) -> None:
    key, operator = make_key(Scope.OPERATE, queues=["mail"])

    answers = {
        (name, verb): closed.post(f"/queues/{name}/{verb}", headers=operator).status_code
        for name in ("mail", "other")
        for verb in ("pause", "resume")
    }

    assert answers == {(name, verb): 200 if name == "mail" else 404 for name, verb in answers}
    acts = sql("SELECT actor, action FROM haulier.audit WHERE target = 'mail' ORDER BY id")
    assert acts == [(key.id, "pause"), (key.id, "resume")]
