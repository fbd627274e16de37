"""A tenant, an API key, is assigned to another cell and back: `haulier cell assign` ..."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from itertools import islice, product

import pytest

from haulier.cells import assign as module
from haulier.cells.assign import assign, side_of
from haulier.domain.api_key import Scope
from haulier.domain.errors import AssignmentRefused, KeyElsewhere
from haulier.postgres.connection import connect
from haulier.queue import jobs
from haulier.queue.access import api_keys
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.purge import purge_idempotency
from tests.cells.assign.conftest import STEPS, crash_after, move
from tests.conftest import eventually
from tests.http.callers import bearer
from tests.web import EMAIL


def test_the_other_cell_takes_new_jobs_and_this_one_keeps_its_own(cells):
    one, two = cells
    key, token = one.new_key(rate_limit=1000, queues=["default"])
    job = one.post(token).json

    said = move(one, two, key.id)

    assert (len(said), one.moved_to(key.id), two.moved_to(key.id)) == (STEPS, [2], [None])
    refused = one.post(token)
    assert (refused.status_code, refused.json["error"], refused.headers["Retry-After"]) == (503, "unavailable", "1")
    assert refused.json["message"].startswith("cell 2 takes the new jobs of this API key")
    assert one.client.get(f"/jobs/{job['id']}", headers=bearer(token)).json == job
    assert one.client.post(f"/jobs/{job['id']}/cancel", headers=bearer(token)).status_code == 200
    accepted = two.post(token)
    assert (accepted.status_code, accepted.json["id"][-2:]) == (201, "02")
    [there] = [each for each in api_keys.list_keys(two.conn) if each.id == key.id]
    assert (there.name, there.queues, there.rate_limit, there.scopes) == ("shop", {"default"}, 1000, {Scope.ADMIN})


def test_a_replay_in_the_other_cell_answers_with_the_job_that_was_accepted(cells):
    one, two = cells
    key, token = one.new_key()
    first = one.post(token, "order-7", delay_seconds=60, tags=["a"])
    jobs.cancel(one.conn, first.json["id"])
    move(one, two, key.id)

    again = two.post(token, "order-7", delay_seconds=60, tags=["a"])
    other = two.post(token, "order-7", delay_seconds=61, tags=["a"])
    batch = two.client.post(
        "/jobs/batch",
        json=[{**EMAIL, "delay_seconds": 60, "tags": ["a"], "idempotency_key": "order-7"}],
        headers=bearer(token),
    )

    assert (again.status_code, again.json, again.headers["Location"]) == (200, first.json, first.headers["Location"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status_code, other.json["error"]) == (422, "idempotency_mismatch")
    assert batch.json["jobs"] == [{"index": 0, "id": first.json["id"], "replayed": True}]
    assert two.client.get(first.headers["Location"], headers=bearer(token)).status_code == 404
    assert two.sql("SELECT count(*) FROM haulier.jobs WHERE id = %s", first.json["id"]) == [(0,)]


def test_goes_back_with_what_the_other_cell_has_accepted(cells):
    one, two = cells
    key, token = one.new_key()
    here = one.post(token, "here")
    move(one, two, key.id)
    there = two.post(token, "there")
    # Its own record comes back, too.
    one.sql("DELETE FROM haulier.idempotency WHERE key = %s", f"{key.id} here")

    move(two, one, key.id)

    assert (one.moved_to(key.id), two.moved_to(key.id)) == ([None], [1])
    assert [two.post(token, name).status_code for name in ("here", "there", "new")] == [503] * 3
    jobs.cancel(one.conn, here.json["id"])
    assert [one.post(token, name).json["id"] for name in ("here", "there")] == [here.json["id"], there.json["id"]]
    # Its own job as it is now, another's as it was accepted.
    assert [one.post(token, name).json["status"] for name in ("here", "there")] == ["cancelled", "queued"]
    assert one.post(token, "new").status_code == 201
    acts = "SELECT actor, details ->> 'cell' FROM haulier.audit WHERE action = 'assign_key' AND key_id = %s ORDER BY id"
    assert [each.sql(acts, key.id) for each in cells] == [[("cli", "2"), ("cli", "1")]] * 2


def test_goes_on_or_back_after_a_crash_at_each_step(cells):
    one, two = cells
    for done, is_undone in product(range(STEPS + 1), (False, True)):
        key, token = one.new_key()
        job_id = one.post(token, "order-7").json["id"]
        crash_after(done, one, two, key.id)

        between = [cell.post(token, "between").status_code for cell in cells]
        if is_undone and done:
            move(two, one, key.id)
        elif not is_undone:
            move(one, two, key.id)

        assert between == {0: [201, 401], 1: [201, 503], 2: [201, 503], STEPS: [503, 201]}.get(done, [503, 503]), done
        assert [cell.moved_to(key.id) == [None] for cell in cells] == [is_undone, not is_undone], done
        serving = one if is_undone else two
        assert serving.post(token, "order-7").json["id"] == job_id
        assert serving.post(token, "between").status_code == (200 if 201 in between else 201), done


def test_is_safe_to_repeat_and_brings_a_new_secret_back(cells):
    one, two = cells
    key, token = one.new_key()
    move(one, two, key.id)
    with pytest.raises(KeyElsewhere, match="cell 2 takes the new jobs of the API key"):
        api_keys.rotate(one.conn, key.id, overlap=timedelta(), actor="cli")
    fresh = api_keys.rotate(two.conn, key.id, overlap=timedelta(), actor="cli")
    assert [cell.client.get("/jobs", headers=bearer(fresh)).status_code for cell in cells] == [401, 200]

    [said] = move(one, two, key.id)

    assert said.startswith("cell 2 takes the new jobs")
    eventually(lambda: one.client.get("/jobs", headers=bearer(fresh)).status_code == 200)
    assert [cell.client.get("/jobs", headers=bearer(token)).status_code for cell in cells] == [401, 401]
    assert [cell.post(fresh).status_code for cell in cells] == [503, 201]


def test_opens_the_key_with_a_secret_that_came_while_records_were_copied(cells):
    one, two = cells
    key, token = one.new_key()
    run = assign(one.side, two.side, key.id)
    list(islice(run, 2))
    fresh = api_keys.rotate(one.conn, key.id, overlap=timedelta(), actor="cli")

    list(run)

    assert [two.client.get("/jobs", headers=bearer(each)).status_code for each in (token, fresh)] == [401, 200]


def test_does_not_open_a_key_that_was_revoked_while_it_moved(cells):
    one, two = cells
    for done in range(1, STEPS):
        key, token = one.new_key()
        run = assign(one.side, two.side, key.id)
        list(islice(run, done))
        api_keys.revoke(one.conn, key.id, actor="cli")

        with pytest.raises(AssignmentRefused, match=f"{key.id} is revoked or expired in cell 1"):
            list(run)

        assert two.moved_to(key.id) == [1]
        assert [cell.post(token).status_code for cell in cells] == [401, 503], done


def test_copies_the_records_of_this_key_only_and_in_pages(cells, monkeypatch):
    monkeypatch.setattr(module, "RECORDS_AT_ONCE", 3)
    one, two = cells
    key, token = one.new_key()
    names = ["!", "~", "A", "a", "0", "a0", "Z-z", "'", '"', "\\", "x" * 255, f"{key.id}"]
    for name in names:
        one.post(token, name)
    others = [f"{key.id}0 a", f"{key.id[:-1]} a", f"{key.id}", "a"]
    for other in others:
        one.sql("INSERT INTO haulier.idempotency VALUES (%s, '', haulier.uuidv7())", other)

    move(one, two, key.id)

    copied = two.sql("SELECT substr(key, 14), cell FROM haulier.idempotency WHERE key LIKE %s", f"{key.id[:-1]}%")
    assert sorted(copied) == sorted((name, 1) for name in names)
    ages = "SELECT key, created_at, fingerprint, job_id FROM haulier.idempotency WHERE key LIKE %s ORDER BY key"
    assert one.sql(ages, f"{key.id} %") == two.sql(ages, f"{key.id} %")
    assert {two.post(token, name).status_code for name in names} == {200}


def test_the_younger_of_two_records_of_a_key_stays(cells):
    one, two = cells
    key, token = one.new_key()
    old = one.post(token, "order-7")
    move(one, two, key.id)
    # Cell 2 has forgotten it, and cell 1 not yet.
    two.sql("DELETE FROM haulier.idempotency WHERE key = %s", f"{key.id} order-7")
    new = two.post(token, "order-7")

    move(two, one, key.id)

    assert (new.status_code, new.json["id"] == old.json["id"]) == (201, False)
    assert one.post(token, "order-7").json["id"] == new.json["id"]


def test_records_of_another_cells_jobs_are_kept_as_long_as_others(cells):
    one, two = cells
    key, token = one.new_key()
    for name in ("old", "young"):
        one.post(token, name)
    one.sql("UPDATE haulier.idempotency SET created_at = now() - interval '31 days' WHERE key LIKE %s", f"{key.id} old")
    move(one, two, key.id)

    assert purge_idempotency(two.conn, idempotency_days=30) == 1

    # In cell 1 its job is live.
    purge_idempotency(one.conn, idempotency_days=30)
    kept = "SELECT substr(key, 14) FROM haulier.idempotency WHERE key LIKE %s ORDER BY key"
    assert [cell.sql(kept, f"{key.id} %") for cell in cells] == [[("old",), ("young",)], [("young",)]]


def test_refuses_what_it_cannot_do_and_changes_nothing(cells):
    one, two = cells
    good, revoked, expired, taken, moved, ended = (one.new_key()[0].id for _ in range(6))
    api_keys.revoke(one.conn, revoked, actor="cli")
    one.sql("UPDATE haulier.api_key SET expires_at = now() WHERE id = %s", expired)
    two.sql("INSERT INTO haulier.api_key (id, name, hash, scopes) VALUES (%s, 'x', sha256('x'), '{read}')", taken)
    one.sql("UPDATE haulier.api_key SET moved_to = 3 WHERE id = %s", moved)
    crash_after(1, one, two, ended)
    api_keys.revoke(two.conn, ended, actor="cli")
    two.sql("UPDATE haulier.api_key SET name = 'x' WHERE id = %s", ended)
    for key_id, message in {
        ended: f"{ended} is revoked or expired in cell 2",
        "nobody": "cell 1 has no API key of the id nobody",
        revoked: f"{revoked} is revoked or expired in cell 1",
        expired: f"{expired} is revoked or expired in cell 1",
        taken: f"cell 2 has another API key of the id {taken}",
        moved: "cell 3 takes the new jobs .* set URL_1 to the database of that cell",
    }.items():
        with pytest.raises(AssignmentRefused, match=message):
            move(one, two, key_id)
        assert two.sql("SELECT count(*) FROM haulier.api_key WHERE id = %s AND name <> 'x'", key_id) == [(0,)]
        assert one.sql("SELECT count(*) FROM haulier.audit WHERE action = 'assign_key' AND key_id = %s", key_id) == [
            (0,)
        ]
    with pytest.raises(AssignmentRefused, match="URL_1 and URL_1 are both cell 1"):
        move(one, one, good)
    started = assign(one.side, two.side, good)
    list(islice(started, 2))
    # Another command has given it to cell 3 in the meantime.
    one.sql("UPDATE haulier.api_key SET moved_to = 3 WHERE id = %s", good)
    with pytest.raises(AssignmentRefused, match="another command has assigned"):
        next(started)
    assert (one.moved_to(good), two.moved_to(good)) == ([3], [1])
    one.sql("UPDATE haulier.api_key SET moved_to = NULL WHERE id = %s", good)
    move(one, two, good)
    # Cell 2 has given it on to cell 3: to repeat the first command would have both accept.
    two.sql("UPDATE haulier.api_key SET moved_to = 3 WHERE id = %s", good)
    with pytest.raises(AssignmentRefused, match="cell 3 takes the new jobs"):
        move(one, two, good)


def test_refuses_a_database_without_a_number_or_with_too_few_rights(migrated_database, roles):
    with (
        closing(connect(migrated_database)) as conn,
        pytest.raises(
            AssignmentRefused, match="URL: its database has no number: run `haulier migrate` there with CELL"
        ),
    ):
        side_of(conn, "URL")
    with closing(connect(roles.owner)) as owner:
        migrate(owner, retention_days=30, cell=2)
        assert side_of(owner, "URL").cell == 2
    with (
        closing(connect(roles.web)) as web,
        pytest.raises(AssignmentRefused, match="URL: its role may not write API keys"),
    ):
        side_of(web, "URL")
