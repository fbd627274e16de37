"""Sessions as the database keeps them, and what the record says of them: it ..."""

from __future__ import annotations

from psycopg2.extensions import connection as Connection

from haulier.queue.access import sessions
from haulier.queue.upkeep.purge import purge_sessions
from tests.conftest import Sql


def make_keys(sql: Sql, ids: str) -> None:
    """Make a key of each of these ids, whose secret has the hash xxxx…."""
    for key_id in ids:
        sql("INSERT INTO haulier.api_key (id, name, hash, scopes) VALUES (%s, 'a', %s, '{read}')", key_id, b"x" * 32)


def test_keeps_the_newest_hundred_of_a_key(conn: Connection, sql) -> None:
    make_keys(sql, "ab")
    tokens = [sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=60) for _ in range(103)]
    other = sessions.open_session(conn, key_id="b", key_hash=b"x" * 32, idle_seconds=60)

    assert sql("SELECT count(*) FROM haulier.session WHERE key_id = 'a'") == [(100,)]
    assert [sessions.find_session(conn, each) is None for each in tokens] == [True] * 3 + [False] * 100
    assert sessions.find_session(conn, other)


def test_leaves_one_entry_of_the_same_again_within_a_minute(conn: Connection, sql) -> None:
    make_keys(sql, "ab")
    tokens = [sessions.open_session(conn, key_id=key, key_hash=b"x" * 32, idle_seconds=60) for key in "aab"]
    for token in tokens:
        sessions.sign_out(conn, token)
    before = sql("SELECT actor, action FROM haulier.audit ORDER BY id")
    sql("UPDATE haulier.audit SET at = at - interval '1 minute'")
    sessions.sign_out(conn, sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=60))

    assert before == [("a", "sign_in"), ("b", "sign_in"), ("a", "sign_out"), ("b", "sign_out")]
    assert sql("SELECT count(*) FROM haulier.audit") == [(6,)]


def test_records_who_signs_in_again_just_after_a_sign_out(conn: Connection, sql) -> None:
    make_keys(sql, "a")
    for _ in range(2):
        token = sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=60)
        sessions.sign_out(conn, token)
    sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=60)

    actions = [action for (action,) in sql("SELECT action FROM haulier.audit ORDER BY id")]
    assert actions == ["sign_in", "sign_out", "sign_in", "sign_out", "sign_in"]


def test_leaves_no_entry_of_what_had_ended_before(conn: Connection, sql) -> None:
    make_keys(sql, "a")
    token = sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=0)

    for each in (token, token, "nonsense"):
        sessions.sign_out(conn, each)

    assert sql("SELECT action FROM haulier.audit") == [("sign_in",)]
    assert sql("SELECT count(*) FROM haulier.session") == [(0,)]


def test_is_forgotten_by_housekeeping_once_it_has_expired(conn: Connection, sql) -> None:
    make_keys(sql, "a")
    for _ in range(3):
        sessions.open_session(conn, key_id="a", key_hash=b"x" * 32, idle_seconds=60)
    sql("UPDATE haulier.session SET expires_at = now() WHERE hash IN (SELECT hash FROM haulier.session LIMIT 2)")

    assert purge_sessions(conn) == 2
    assert sql("SELECT count(*) FROM haulier.session") == [(1,)]
