"""API keys, their rates, sessions, and the record of what is done. It ..."""

from __future__ import annotations

import hmac
import re
from contextlib import closing
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

import pytest

from haulier.domain.act import Act
from haulier.domain.api_key import ID_PATTERN, TOKEN, Scope, hash_of, id_of
from haulier.domain.errors import KeyExists, KeyNotFound, KeyRotated
from haulier.postgres.connection import connect
from haulier.postgres.statements import rows, transaction
from haulier.postgres.values import array
from haulier.queue.access import api_keys, audit_log, sessions
from haulier.queue.access.api_keys import NewKey
from haulier.queue.access.audit_log import LOOK_ROWS, ActionFilter, find_actions
from haulier.queue.upkeep.purge import purge_audit
from tests.conftest import Sql
from tests.queue.plans import buffers, explain

DAY = timedelta(days=1)


@pytest.fixture
def make(conn):
    def make(*scopes, **options):
        return api_keys.create(conn, NewKey("Ann's shop", scopes or [Scope.READ], **options), actor="cli")

    return make


def test_makes_a_key_whose_token_is_kept_nowhere(make, conn, sql):
    key, token = make(Scope.READ, Scope.ENQUEUE, queues=["mail", "bulk"], rate_limit=5, lifetime=DAY)

    [kept] = api_keys.list_keys(conn)
    assert kept == key == api_keys.find(conn, key.id).key
    assert (kept.name, kept.scopes, kept.queues) == ("Ann's shop", {Scope.READ, Scope.ENQUEUE}, {"mail", "bulk"})
    assert (kept.rate_limit, kept.expires_at - kept.created_at) == (5.0, DAY)
    assert (kept.last_used_at, kept.revoked_at, kept.rotated_until) == (None, None, None)
    assert TOKEN.fullmatch(token)[1] == key.id
    assert kept.is_opened_by(token)
    [[row]] = sql("SELECT row_to_json(api_key)::text FROM haulier.api_key")
    assert token.split("_", 2)[2] not in row
    assert repr(hash_of(token)) not in repr(key)
    assert [bytes(kept) for [kept] in sql("SELECT hash FROM haulier.api_key")] == [sha256(token.encode()).digest()]


def test_a_key_is_opened_only_by_its_token_compared_in_constant_time(make, monkeypatch):
    (key, token), (_, other) = make(), make()
    compared = []

    def compare(one, other):
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)

    opened = [key.is_opened_by(each) for each in (token, other, token[:-1], "", key.id)]

    assert opened == [True, False, False, False, False]
    assert len(compared) == 5


def test_says_for_how_long_a_key_is_good(make, conn):
    lasting, short = (api_keys.find(conn, make(lifetime=lifetime)[0].id) for lifetime in (None, timedelta(minutes=1)))

    assert lasting.seconds is None
    assert 50 < short.seconds <= 60


def test_two_tokens_are_good_after_a_rotation_and_never_three(make, conn):
    key, first = make()
    second = api_keys.rotate(conn, key.id, overlap=DAY, actor="cli")
    after_one = api_keys.find(conn, key.id)
    third = api_keys.rotate(conn, key.id, overlap=DAY, actor="cli")
    after_two = api_keys.find(conn, key.id)

    assert [after_one.key.is_opened_by(token) for token in (first, second, third)] == [True, True, False]
    assert [after_two.key.is_opened_by(token) for token in (first, second, third)] == [False, True, True]
    assert 86_000 < after_one.seconds <= 86_400
    fourth = api_keys.rotate(conn, key.id, overlap=timedelta(0), actor="cli")
    without_overlap = api_keys.find(conn, key.id)
    assert [without_overlap.key.is_opened_by(token) for token in (third, fourth)] == [False, True]
    assert without_overlap.seconds is None


def test_neither_rotates_nor_revokes_what_is_no_longer_good(make, conn):
    (revoked, _), (expired, _) = make(), make(lifetime=-DAY)
    api_keys.revoke(conn, revoked.id, actor="cli")

    for key_id in ("nobody", revoked.id, expired.id):
        with pytest.raises(KeyNotFound, match=f"API key {key_id} does not exist"):
            api_keys.rotate(conn, key_id, overlap=DAY, actor="cli")
    for key_id in ("nobody", revoked.id):
        with pytest.raises(KeyNotFound):
            api_keys.revoke(conn, key_id, actor="cli")
    assert len(audit_log.list_actions(conn, limit=10)) == 3


def test_notes_use_once_a_minute(make, conn, sql):
    key, _ = make()
    seen = []
    for back in ("0 s", "59 s", "61 s"):
        sql("UPDATE haulier.api_key SET last_used_at = last_used_at - %s::interval RETURNING 1", back)
        api_keys.touch(conn, key.id)
        seen += sql("SELECT last_used_at > now() - interval '30 s', xmin::text FROM haulier.api_key")

    assert [recent for recent, _ in seen] == [True, False, True]


def test_to_note_use_waits_for_nobody_who_changes_the_key(make, database, conn, sql):
    key, _ = make()
    with closing(connect(database)) as other, transaction(other):
        rows(other, "lock_key", key_id=key.id)

        api_keys.touch(conn, key.id)

        assert sql("SELECT last_used_at FROM haulier.api_key") == [(None,)]
    api_keys.touch(conn, key.id)
    assert sql("SELECT last_used_at IS NULL FROM haulier.api_key") == [(False,)]


# Rates


def test_lends_a_seconds_worth_and_more_as_time_goes_by(make, conn, sql):
    def stand_still(seconds: float = 0.0) -> None:
        """Let each budget have been filled this many seconds ago."""
        sql("UPDATE haulier.rate_budget SET filled_at = now() - make_interval(secs => %s) RETURNING 1", seconds)

    key, _ = make(rate_limit=10)
    loans = []
    for _ in range(4):
        stand_still()
        loans.append(api_keys.borrow(conn, key, asked=4, unused=0))
    stand_still(0.5)
    later = api_keys.borrow(conn, key, asked=10, unused=0)
    stand_still(86_400)
    a_day_later = api_keys.borrow(conn, key, asked=100, unused=50)
    stand_still()
    after_giving_back = api_keys.borrow(conn, key, asked=10, unused=7)

    assert [loan.granted for loan in loans[:3]] == [4, 4, 2]
    assert loans[3].granted <= 1
    assert 0 < loans[3].wait <= 0.1
    assert 5 <= later.granted <= 6
    assert (a_day_later.granted, after_giving_back.granted) == (10, 7)


def test_a_slow_rate_lends_one_and_says_how_long_it_takes(make, conn):
    key, _ = make(rate_limit=0.1)

    first, second = (api_keys.borrow(conn, key, asked=5, unused=0) for _ in range(2))

    assert (first.granted, second.granted) == (1, 0)
    assert 9 < second.wait <= 10


def test_several_borrowers_at_once_get_no_more_than_there_is(make, at_once):
    key, _ = make(rate_limit=100)

    loans = at_once(
        8, lambda number, mine: sum(api_keys.borrow(mine, key, asked=7, unused=0).granted for _ in range(10))
    )

    assert 100 <= sum(loans) <= 200


def test_a_key_that_was_deleted_lends_nothing(make, conn, sql):
    key, _ = make(rate_limit=10)
    sql("DELETE FROM haulier.api_key RETURNING 1")

    assert api_keys.borrow(conn, key, asked=5, unused=0).granted == 0


# The record


def test_forgets_what_was_done_longer_ago_than_the_history_reaches(make, conn, sql):
    for _ in range(5):
        make()
    sql("UPDATE haulier.audit SET at = now() - interval '31 days' WHERE id % 2 = 0 RETURNING 1")
    [[old]] = sql("SELECT count(*) FROM haulier.audit WHERE at < now() - interval '1 day'")

    purged = purge_audit(conn, retention_days=30)

    assert purged == old > 0
    assert len(audit_log.list_actions(conn, limit=10)) == 5 - old


def test_makes_one_key_of_an_id(conn, sql):
    asked = NewKey("Ann's shop", [Scope.READ])
    key, _ = api_keys.create(conn, asked, actor="cli", key_id=id_of("a form"))

    with pytest.raises(KeyExists, match=key.id):
        api_keys.create(conn, asked, actor="cli", key_id=id_of("a form"))

    assert len({id_of(str(n)) for n in range(1000)}) == 1000
    assert all(re.fullmatch(ID_PATTERN, id_of(str(n))) for n in range(1000))
    assert sql("SELECT count(*) FROM haulier.audit") == [(1,)]


def test_rotates_once_if_many_ask_after_the_same_look(make, conn, sql, at_once):
    key, old = make()

    found = at_once(4, lambda _, mine: api_keys.rotated(mine, key.id, overlap=DAY, actor="cli", seen=key.secret_mark))

    [(rotated, token)] = [each for each in found if not isinstance(each, KeyRotated)]
    assert api_keys.find(conn, key.id).key.is_opened_by(token)
    assert api_keys.find(conn, key.id).key.is_opened_by(old)
    assert rotated.secret_mark != key.secret_mark
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'rotate_key'") == [(1,)]


# --- Sessions


def make_keys(sql: Sql, ids: str) -> None:
    """Make a key of each of these ids, whose secret has the hash xxxx…."""
    for key_id in ids:
        sql("INSERT INTO haulier.api_key (id, name, hash, scopes) VALUES (%s, 'a', %s, '{read}')", key_id, b"x" * 32)


def test_keeps_the_newest_hundred_of_a_key(conn, sql):
    make_keys(sql, "ab")
    tokens = [sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=60) for _ in range(103)]
    other = sessions.open_session(conn, key_id="b", key_hash=b"x" * 32, idle_seconds=60)

    assert sql("SELECT count(*) FROM haulier.session WHERE key_id = 'a'") == [(100,)]
    assert [sessions.find_session(conn, each) is None for each in tokens] == [True] * 3 + [False] * 100
    assert sessions.find_session(conn, other)


def test_leaves_one_entry_of_the_same_again_within_a_minute(conn, sql):
    make_keys(sql, "ab")
    tokens = [sessions.open_session(conn, key_id=key, key_hash=b"x" * 32, idle_seconds=60) for key in "aab"]
    for token in tokens:
        sessions.sign_out(conn, token)
    before = sql("SELECT actor, action FROM haulier.audit ORDER BY id")
    sql("UPDATE haulier.audit SET at = at - interval '1 minute'")
    sessions.sign_out(conn, sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=60))

    assert before == [("a", "sign_in"), ("b", "sign_in"), ("a", "sign_out"), ("b", "sign_out")]
    assert sql("SELECT count(*) FROM haulier.audit") == [(6,)]


def test_records_who_signs_in_again_just_after_a_sign_out(conn, sql):
    make_keys(sql, "a")
    for _ in range(2):
        token = sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=60)
        sessions.sign_out(conn, token)
    sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=60)

    actions = [action for (action,) in sql("SELECT action FROM haulier.audit ORDER BY id")]
    assert actions == ["sign_in", "sign_out", "sign_in", "sign_out", "sign_in"]


def test_leaves_no_entry_of_what_had_ended_before(conn, sql):
    make_keys(sql, "a")
    token = sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=0)

    for each in (token, token, "nonsense"):
        sessions.sign_out(conn, each)

    assert sql("SELECT action FROM haulier.audit") == [("sign_in",)]
    assert sql("SELECT count(*) FROM haulier.session") == [(0,)]


# --- The record


ENTRIES = 50_000
JOB = UUID("0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11")
# One of each ten entries of a second is that of another job; the rare actor has the oldest of all.
MAKE = """
    INSERT INTO haulier.audit (at, actor, action, job_id)
    SELECT now() - make_interval(secs => %s - n), CASE n WHEN 1 THEN 'rare' ELSE 'common' END, 'cancel',
        CASE n WHEN 7 THEN %s::uuid ELSE haulier.uuidv7() END
    FROM generate_series(1, %s) AS n
    RETURNING 1
"""


def test_knows_the_acts_that_the_table_takes(sql):
    [[check]] = sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'action_is_known'")

    assert set(re.findall(r"'(\w+)'", check)) == set(Act)


def test_reads_by_index_no_more_entries_than_a_page_takes(conn, sql):
    sql(MAKE, ENTRIES, str(JOB), ENTRIES)
    sql("VACUUM ANALYZE haulier.audit")
    [[long_ago]] = sql("SELECT min(at) + interval '5 s' FROM haulier.audit")
    for given, index, least, most in (
        ({"job": JOB}, "audit_by_job", 1, 1),
        ({}, "audit_oldest", 51, 60),
        ({"at_before": long_ago}, "audit_oldest", 5, 5),
        ({"actor": "rare"}, "audit_oldest", LOOK_ROWS, LOOK_ROWS),
        ({"acts": array(["retry"])}, "audit_oldest", LOOK_ROWS, LOOK_ROWS),
    ):
        _, nodes = explain(conn, "list_audit", {"most_rows": LOOK_ROWS, "limit": 51, **given})
        scans = [node for node in nodes if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan"]
        assert [node.get("Index Name") for node in scans] == [index], given
        assert least <= scans[0]["Actual Rows"] <= most, given
        assert most > 5 or buffers(nodes) < 20, given

    assert [action.job_id for action in find_actions(conn, ActionFilter(job_id=JOB)).actions] == [JOB]


def test_the_last_entry_of_a_look_is_on_its_page_if_it_matches(conn, sql, monkeypatch):
    monkeypatch.setattr(audit_log, "LOOK_ROWS", 3)
    for actor in ("a", "a", "b", "a", "b"):
        sql("INSERT INTO haulier.audit (actor, action, target) VALUES (%s, 'mute', 't') RETURNING 1", actor)

    first = find_actions(conn, ActionFilter(actor="b", limit=2))
    second = find_actions(conn, ActionFilter(actor="b", limit=2, after=first.after))
    full = find_actions(conn, ActionFilter(actor="a", limit=1))

    assert [len(page.actions) for page in (first, second, full)] == [2, 0, 1]
    assert first.after == (first.actions[-1].at, first.actions[-1].id)
    assert second.after is None
