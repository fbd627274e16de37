"""POST /operations and the calls on one: what is done to all jobs of a filter."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from haulier.domain.api_key import Scope
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.answers import not_refused, pages
from tests.http.callers import JOB, MakeKey
from tests.web import EMAIL

AT_ONCE = {"starts_in_seconds": 0}


def asked(client: FlaskClient, action: str = "retry", given: Any = None, **more: Any) -> Any:
    headers = more.pop("headers", None)
    body = {"action": action, "filter": {"all": True} if given is None else given, **more}
    return client.post("/operations", json=body, headers=headers)


def advanced(client: FlaskClient, operation: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Work it off as whoever watches does, and return it as it is then."""
    for _ in range(50):
        shown: dict[str, Any] = client.post(f"/operations/{operation['id']}/advance", **options).json
        if shown["status"] != "running":
            return shown
    raise AssertionError(shown)


def test_previews_what_it_would_act_on_and_then_does_that(client: FlaskClient, fail: Fail) -> None:
    jobs = [str(fail("no luck", kind=kind).id) for kind in ("mail", "mail", "bill")]

    preview = asked(client, given={"status": ["failed_permanent"]}, dry_run=True)
    later = fail("no luck")
    answer = asked(client, given={"status": ["failed_permanent"]}, as_of=preview.json["as_of"], **AT_ONCE)

    assert preview.status_code == 200
    assert (preview.json["matched"], preview.json["matched_is"]) == (3, "exact")
    assert preview.json["by_kind"] == {"mail": 2, "bill": 1}
    assert [job["id"] for job in preview.json["first"]] == jobs[::-1]
    started = answer.json
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/operations/{started['id']}")
    assert (started["status"], started["filter"]) == ("waiting", {"status": ["failed_permanent"]})
    assert started["as_of"] == preview.json["as_of"]
    done = advanced(client, started)
    assert [done[name] for name in ("status", "matched", "done", "skipped", "failed")] == ["done", 3, 3, 0, 0]
    assert client.get(f"/operations/{done['id']}").json == done
    assert client.get(f"/jobs/{later.id}").json["status"] == "failed_permanent"


def test_a_preview_names_open_operations_that_may_act_on_the_same_jobs(client: FlaskClient, fail: Fail) -> None:
    fail("no luck", kind="mail")
    later = {"starts_in_seconds": 3600}
    mails, bulk, over = (
        asked(client, given=given, **later).json["id"] for given in ({"kind": ["mail"]}, {"queue": ["bulk"]}, None)
    )
    client.post(f"/operations/{over}/cancel")

    def beside(**given: Any) -> list[str]:
        answer = asked(client, "cancel", given, dry_run=True)
        assert answer.status_code == 200, answer.json
        beside: list[str] = answer.json["open_operations"]
        return beside

    assert beside(all=True) == beside(tag=["a"]) == [bulk, mails]
    assert beside(kind=["bill"]) == beside(kind=["bill"], queue=["bulk", "default"]) == [bulk]
    assert beside(kind=["mail"], queue=["default"]) == [mails]
    assert beside(kind=["bill"], queue=["default"]) == []


def test_waits_ten_seconds_and_can_be_cancelled_and_resumed(client: FlaskClient, fail: Fail, sql: Sql) -> None:
    job = fail("no luck")
    started = asked(client).json
    path = f"/operations/{started['id']}"

    assert sql("SELECT extract(epoch FROM starts_at - created_at)::integer FROM haulier.operation") == [(10,)]
    waits, cancelled, again = (client.post(f"{path}/{verb}") for verb in ("advance", "cancel", "cancel"))
    untouched = client.get(f"/jobs/{job.id}").json["status"]
    resumed, done, over = client.post(f"{path}/resume"), advanced(client, started), client.post(f"{path}/resume")

    assert [each.json.get("status") for each in (waits, cancelled, resumed)] == ["waiting", "cancelled", "waiting"]
    assert (cancelled.json["done"], untouched, done["done"]) == (0, "failed_permanent", 1)
    assert [(each.status_code, each.json["error"]) for each in (again, over)] == [(409, "conflict")] * 2
    acts = sql("SELECT action FROM haulier.audit WHERE target = %s ORDER BY id", started["id"])
    assert [action for (action,) in acts] == ["operate", "cancel_operation", "resume_operation"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({"filter": value}, "filter") for value in ({}, None, [], "all", {"kind": None})),
    # All jobs are meant on purpose or not at all.
    *(({"filter": {"all": True, **more}}, "filter.all") for more in ({"kind": ["mail"]}, {"payload.a": "b"})),
    ({"filter": {"all": False}}, "filter.all"),
    ({"filter": {"kinds": ["mail"]}}, "filter.kinds"),
    ({"filter": {"limit": 3, "all": True}}, "filter.limit"),
    *(({"filter": {"kind": value}}, "filter.kind") for value in (7, [], {}, [["mail"]], "")),
    ({"filter": {"status": ["done"]}}, "filter.status"),
    ({"filter": {"error": 7}}, "filter.error"),
    ({"filter": {"worker": [1]}}, "filter.worker"),
    ({"filter": {"attempts_min": "3"}}, "filter.attempts_min"),
    ({"filter": {"payload.": "x"}}, "filter.payload."),
    ({"filter": {"payload.a": 7}}, "filter.payload.a"),
    ({"filter": {f"payload.{n}": "x" for n in range(6)}}, "filter"),
    # Jobs to which the action cannot be done.
    ({"filter": {"status": ["succeeded"]}}, "filter"),
    ({"action": "change", "changes": {"queue": "bulk"}, "filter": {"worker": JOB.split("/")[2]}}, "filter"),
    ({"action": "cancel", "filter": {"finished_after": "2026-11-27T00:00:00Z"}}, "filter"),
    *(({"action": value}, "action") for value in ("fail", None)),
    *(({"action": "change", **more}, "changes") for more in ({}, {"changes": {}}, {"changes": {"priority": None}})),
    *(({"action": action, "changes": {"queue": "bulk"}}, "changes") for action in ("cancel", "delete")),
    ({"action": "change", "changes": {"queue": "bulk", "max_attempts": 5}}, "changes.max_attempts"),
    ({"changes": {"payload": {}}}, "changes.payload"),
    ({"changes": {"max_attempts": 0}}, "changes.max_attempts"),
    ({"action": "change", "changes": {"kind": "mail"}}, "changes.kind"),
    ({"action": "change", "changes": {"priority": 101}}, "changes.priority"),
    ({"action": "change", "changes": {"run_at": "2026-12-01T00:00:00Z", "delay_seconds": 1}}, "changes"),
    ({"action": "change", "changes": {"queue": "bulk"}, "spread_seconds": 5}, "spread_seconds"),
    ({"action": "cancel", "spread_seconds": 5}, "spread_seconds"),
    ({"spread_seconds": -1}, "spread_seconds"),
    ({"starts_in_seconds": 86_401}, "starts_in_seconds"),
    *(({"as_of": "2026-11-27T00:00:00Z", **more}, "as_of") for more in ({}, {"dry_run": True})),
    ({"dry_run": 1}, "dry_run"),
    ({"unknown": 1}, "unknown"),
]


def test_refuses_an_operation_that_does_not_fit_and_names_it(client: FlaskClient, sql: Sql) -> None:
    def start(body: dict[str, Any]) -> Any:
        return client.post("/operations", json={"action": "retry", "filter": {"all": True}, **body})

    assert not_refused(start, REFUSED) == []
    assert sql("SELECT count(*) FROM haulier.operation") == [(0,)]
    not_kept = start({"as_of": "2026-11-27T00:00:00Z"})
    assert "Preview again." in not_kept.json["details"]["as_of"][0]


def test_takes_each_part_of_a_filter(client: FlaskClient, fail: Fail, sql: Sql) -> None:
    job = fail("no luck", queue="bulk", payload={"order": {"id": "7"}})
    fail("no luck", payload={"order": {"id": "8"}})
    sql("UPDATE haulier.finished_job SET tags = '{a}', idempotency_key = 'k' WHERE id = %s", job.id)
    [[group]] = sql("SELECT lpad(to_hex(error_id), 16, '0') FROM haulier.finished_job LIMIT 1")
    times = {"created_after": "2020-01-01T00:00:00.000000Z", "finished_before": "2120-01-01T00:00:00.000000Z"}

    for given, matched in (
        *(({"kind": ["mail"]}, 2), ({"queue": ["bulk"]}, 1), ({"tag": ["a", "b"]}, 1), ({"error": group}, 2)),
        *(({"key": "k"}, 1), ({"attempts_min": 1}, 2), ({"attempts_min": 2}, 0), ({"payload.order.id": "7"}, 1)),
        *((times, 2), ({"created_before": times["created_after"]}, 0)),
    ):
        started = asked(client, "delete", given, **AT_ONCE).json
        client.post(f"/operations/{started['id']}/cancel")
        assert (started["matched"], started["filter"]) == (matched, given)
    for name, value in (("status", "failed_permanent"), ("kind", "mail"), ("queue", "bulk"), ("tag", "a")):
        one, several = (asked(client, "delete", {name: each}, **AT_ONCE).json for each in (value, [value]))
        assert (one["matched"], one["filter"]) == (several["matched"], several["filter"])
        assert one["matched"] > 0
        client.post(f"/operations/{one['id']}/cancel")
        client.post(f"/operations/{several['id']}/cancel")
    started = asked(client, "delete", {"payload.order.id": "7", "tag": ["a"], "error": group, "key": "k"}, **AT_ONCE)
    assert advanced(client, started.json)["done"] == 1
    assert client.get(f"/jobs/{job.id}").status_code == 404


def test_moves_and_defers_what_waits(client: FlaskClient, sql: Sql) -> None:
    client.post("/jobs", json=EMAIL)

    changes = {"queue": "bulk", "priority": -5, "run_at": "2100-01-01T00:00:00Z"}
    started = asked(client, "change", changes=changes, spread_seconds=60, **AT_ONCE).json

    assert started["changes"] == {**changes, "run_at": "2100-01-01T00:00:00.000000Z"}
    assert advanced(client, started)["done"] == 1
    [[queue, priority, offset]] = sql(
        "SELECT queue, priority, extract(epoch FROM run_at - '2100-01-01+00')::integer FROM haulier.job"
    )
    assert (queue, priority) == ("bulk", -5)
    assert 0 <= offset < 60


def test_retries_with_changes(client: FlaskClient, fail: Fail, sql: Sql) -> None:
    jobs = {str(fail("no luck", payload={"n": n}).id) for n in range(3)}

    changes = {"queue": "bulk", "priority": 5, "max_attempts": 7, "timeout_seconds": 30, "tags": ["again"]}
    # Null counts as absent.
    asked_for = {**changes, "delay_seconds": 600, "run_at": None}
    started = asked(client, "retry", changes=asked_for, spread_seconds=60, **AT_ONCE).json
    done = advanced(client, started)

    assert (done["done"], done["changes"]) == (3, {**changes, "delay_seconds": 600})
    found = {job["id"]: job for job in client.get("/jobs?queue=bulk").json}
    assert set(found) == jobs
    for job in found.values():
        assert {name: job[name] for name in changes} == changes
        assert (job["status"], job["attempts"]) == ("queued", 0)
    assert sql("SELECT DISTINCT (run_at - updated_at) BETWEEN '599 s' AND '661 s' FROM haulier.job") == [(True,)]
    assert sql("SELECT queue FROM haulier.moved") == [("bulk",)]


def test_pages_lead_through_all_of_them(client: FlaskClient) -> None:
    ids = [asked(client).json["id"] for _ in range(5)]
    client.post(f"/operations/{ids[0]}/cancel")

    found = [[each["id"] for each in page] for page in pages(client, "/operations?limit=3")]

    assert found == [ids[:1:-1], ids[1::-1]]
    assert [each["id"] for each in client.get("/operations?status=cancelled&status=done").json] == ids[:1]


def test_only_an_admin_deletes(closed: FlaskClient, make_key: MakeKey) -> None:
    (_, operator), (_, admin) = make_key(Scope.OPERATE), make_key(Scope.ADMIN)
    started = asked(closed, "delete", headers=admin)
    path = f"/operations/{started.json['id']}"

    refused = [
        asked(closed, "delete", headers=operator),
        asked(closed, "delete", headers=operator, dry_run=True),
        closed.post(f"{path}/advance", headers=operator),
        closed.post(f"{path}/resume", headers=operator),
    ]

    assert started.status_code == 202
    assert [answer.status_code for answer in refused] == [403] * 4
    assert "admin" in refused[0].headers["WWW-Authenticate"]
    assert closed.post(f"{path}/cancel", headers=operator).status_code == 200


def test_a_key_of_some_queues_acts_in_these_alone(closed: FlaskClient, make_key: MakeKey, fail: Fail) -> None:
    (_, anyone), (_, limited) = make_key(), make_key(Scope.OPERATE, queues=["bulk"])
    (_, other) = make_key(Scope.OPERATE, queues=["mail", "bulk"])
    own, foreign = fail("no luck", queue="bulk"), fail("no luck")
    everywhere = asked(closed, headers=anyone).json

    preview = asked(closed, headers=limited, dry_run=True).json
    started = asked(closed, headers=limited, as_of=preview["as_of"], **AT_ONCE).json
    elsewhere = asked(closed, given={"queue": ["default"]}, headers=limited, dry_run=True).json
    moved = [asked(closed, act, changes={"queue": "default"}, headers=limited) for act in ("change", "retry")]
    path = f"/operations/{everywhere['id']}"
    hidden = [
        closed.get(path, headers=limited),
        *(closed.post(f"{path}/{verb}", headers=limited) for verb in ("cancel", "resume", "advance")),
    ]

    assert (preview["matched"], elsewhere["matched"]) == (1, 0)
    assert [job["id"] for job in preview["first"]] == [str(own.id)]
    assert [answer.status_code for answer in (*moved, *hidden)] == [403] * 2 + [404] * 4
    assert [each["id"] for each in closed.get("/operations", headers=limited).json] == [started["id"]]
    assert [each["id"] for each in closed.get("/operations", headers=other).json] == [started["id"]]
    done = advanced(closed, started, headers=limited)
    assert (done["done"], done["queues"]) == (1, ["bulk"])
    assert closed.get(f"/jobs/{foreign.id}", headers=anyone).json["status"] == "failed_permanent"


def test_what_it_looks_for_in_secret_places_is_shown_to_admins_alone(
    secretive: FlaskClient, make_key: MakeKey, sql: Sql
) -> None:
    (_, operator), (_, admin) = make_key(Scope.OPERATE), make_key(Scope.ADMIN)
    given = {"payload.token": "hush-hush", "kind": ["secretive"]}

    refused = asked(secretive, given=given, headers=operator)
    started = asked(secretive, given=given, headers=admin).json
    shown = secretive.get(f"/operations/{started['id']}", headers=operator).json
    listed = secretive.get("/operations", headers=operator).json

    assert (refused.status_code, list(refused.json["details"]["filter"])) == (422, ["payload.token"])
    assert started["filter"] == given
    assert shown["filter"] == listed[0]["filter"] == {**given, "payload.token": "•••"}
    [[details]] = sql("SELECT details FROM haulier.audit WHERE action = 'operate'")
    assert details["filter"] == shown["filter"]
    # As a process wrote it that did not know the kind, or not that this is secret.
    sql("UPDATE haulier.audit SET details = jsonb_set(details, '{filter,payload.token}', '\"hush-hush\"')")
    records = [secretive.get("/audit", headers=headers).json[0]["details"] for headers in (operator, admin)]
    assert [record["filter"]["payload.token"] for record in records] == ["•••", "hush-hush"]
