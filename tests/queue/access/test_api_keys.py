"""API keys, their rates and the record of what is done with them: it ..."""

from __future__ import annotations

import hmac
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from hashlib import sha256

import pytest

from haulier.domain import api_key
from haulier.domain.api_key import ID_PATTERN, TOKEN, ApiKey, Scope, hash_of, id_in, id_of, new_id, new_token
from haulier.domain.errors import KeyExists, KeyNotFound, KeyRotated
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys, audit_log
from haulier.queue.access.api_keys import NewKey
from haulier.queue.upkeep.purge import purge_audit

DAY = timedelta(days=1)


@pytest.fixture
def make(conn):
    """Give a function that makes a key."""

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


def test_no_two_keys_are_alike():
    tokens = {new_token(new_id()) for _ in range(1000)}

    assert len(tokens) == 1000
    assert all(TOKEN.fullmatch(token) for token in tokens)
    assert len({token.split("_")[1] for token in tokens}) == 1000


def test_draws_secrets_from_the_operating_system(monkeypatch):
    drawn = []
    monkeypatch.setattr(api_key.secrets, "token_urlsafe", lambda size: drawn.append(size) or "x" * 43)

    assert new_token("a" * 12) == "hlr_" + "a" * 12 + "_" + "x" * 43
    assert drawn == [32]


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


def test_what_has_not_the_form_of_a_token_names_no_key():
    texts = ["", "hlr__", "hlr_abcdefghijkl_", "HLR_abcdefghijkl_" + "x" * 43, "hlr_abcdefghijkl_" + "x" * 44]

    assert [text for text in texts if id_in(text)] == []


def test_admin_may_do_everything_and_others_what_they_say():
    admin = ApiKey("a", "a", frozenset([Scope.ADMIN]), ())
    reader = ApiKey("b", "b", frozenset([Scope.READ]), (), queues=frozenset(["mail"]))

    assert [admin.may(scope) for scope in Scope] == [True] * 4
    assert [reader.may(scope) for scope in Scope] == [False, True, False, False]
    assert (admin.may_use("any"), reader.may_use("mail"), reader.may_use("any")) == (True, True, False)


def test_finds_no_key_that_has_expired_or_is_revoked_or_was_never_made(make, conn):
    (expired, _), (revoked, _) = make(lifetime=-DAY), make()
    api_keys.revoke(conn, revoked.id, actor="cli")

    assert [api_keys.find(conn, key_id) for key_id in (expired.id, revoked.id, "nobody")] == [None] * 3


def test_says_for_how_long_a_key_is_good(make, conn):
    lasting, short = (api_keys.find(conn, make(lifetime=lifetime)[0].id) for lifetime in (None, timedelta(minutes=1)))

    assert lasting.seconds is None
    assert 50 < short.seconds <= 60


def test_knows_whether_there_was_ever_a_key(make, conn):
    before = api_keys.any_exist(conn)
    key, _ = make()
    api_keys.revoke(conn, key.id, actor="cli")

    assert (before, api_keys.any_exist(conn)) == (False, True)


def test_two_tokens_are_good_after_a_rotation_and_never_three(make, conn):
    key, first = make()
    second = api_keys.rotate(conn, key.id, overlap=DAY, actor="cli")
    after_one = api_keys.find(conn, key.id)
    third = api_keys.rotate(conn, key.id, overlap=DAY, actor="cli")
    after_two = api_keys.find(conn, key.id)

    assert [after_one.key.is_opened_by(token) for token in (first, second, third)] == [True, True, False]
    assert [after_two.key.is_opened_by(token) for token in (first, second, third)] == [False, True, True]
    assert 86_000 < after_one.seconds <= 86_400


def test_the_old_token_is_good_only_for_the_overlap(make, conn):
    key, first = make()

    second = api_keys.rotate(conn, key.id, overlap=timedelta(0), actor="cli")

    found = api_keys.find(conn, key.id)
    assert [found.key.is_opened_by(token) for token in (first, second)] == [False, True]
    assert found.seconds is None


def test_neither_rotates_nor_revokes_what_is_no_longer_good(make, conn):
    (revoked, _), (expired, _) = make(), make(lifetime=-DAY)
    api_keys.revoke(conn, revoked.id, actor="cli")

    for key_id in ("nobody", revoked.id, expired.id):
        with pytest.raises(KeyNotFound, match=f"there is no API key {key_id}"):
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


# Rates


@pytest.fixture
def stand_still(sql):
    """Give a function that lets each budget have been filled this many seconds ago."""

    def stand_still(seconds: float = 0.0) -> None:
        sql("UPDATE haulier.rate_budget SET filled_at = now() - make_interval(secs => %s) RETURNING 1", seconds)

    return stand_still


def test_lends_a_seconds_worth_and_more_as_time_goes_by(make, conn, stand_still):
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


def test_rotates_once_if_many_ask_after_the_same_look(make, conn, sql, database):
    key, old = make()

    def rotate(_: int) -> object:
        with closing(connect(database)) as mine:
            try:
                return api_keys.rotated(mine, key.id, overlap=DAY, actor="cli", seen=key.secret_mark)
            except KeyRotated as error:
                return error

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(rotate, range(4)))

    [(rotated, token)] = [each for each in found if isinstance(each, tuple)]
    assert api_keys.find(conn, key.id).key.is_opened_by(token)
    assert api_keys.find(conn, key.id).key.is_opened_by(old)
    assert rotated.secret_mark != key.secret_mark
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'rotate_key'") == [(1,)]
