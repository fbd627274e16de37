"""The page of the database: it ..."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from app.web.pages.database import TITLES, fix_of, limits_of, states_of, worst_first
from haulier.domain.api_key import Scope
from haulier.domain.checks import Check, CheckState, Threshold
from haulier.queue import produce
from haulier.queue.produce.checks import THRESHOLDS
from haulier.queue.produce.tables import Table, list_tables
from tests.conftest import Sql, eventually
from tests.web.browsing import Browser
from tests.web.conftest import SignedIn
from tests.web.jobs import enqueue


def test_shows_each_check_with_its_state(browser: Browser) -> None:
    page = browser.page("/ui/database")

    shown = {each.given["id"].removeprefix("check-") for each in page.all("li") if "id" in each.given}
    assert shown == set(THRESHOLDS) == set(TITLES)
    assert "PostgreSQL 1" in page.all("div", class_="title")[0].text


def test_names_who_holds_the_oldest_snapshot_and_the_command_that_ends_it(
    browser: Browser, conn: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(THRESHOLDS, "transactions", Threshold("seconds", 0.0, 1800))  # type: ignore[index]
    other = psycopg2.connect(database, application_name="reporting")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()")
            pid = other.info.backend_pid
            page = browser.page("/ui/database")
    finally:
        other.close()

    [check] = page.all("li", id="check-transactions")
    assert f"process {pid}" in check.text
    assert "reporting" in check.text
    [command] = check.all("pre")
    assert command.text.startswith("SELECT pg_terminate_backend(")
    assert check.all("button")[0].given["data-copy"] == command.text


def test_shows_the_tables_with_their_sizes_and_the_partitions_together(
    browser: Browser, conn: Connection, sql: Sql
) -> None:
    for _ in range(3):
        produce.cancel(conn, enqueue(conn))
    job = enqueue(conn)
    sql("VACUUM ANALYZE haulier.job, haulier.finished_job")
    sql("DELETE FROM haulier.job WHERE id = %s RETURNING 1", str(job))

    def counted() -> dict[str, Table] | None:
        found = {each.name: each for each in list_tables(conn)}
        return found if found["job"].dead else None

    # The server's own figures come some time after what they count.
    found = eventually(counted)
    page = browser.page("/ui/database")

    assert (found["finished_job"].partitions > 1, found["job"].partitions) == (True, 0)
    assert found["finished_job"].rows >= 3
    assert [found[name].vacuumed_at is not None for name in ("job", "finished_job")] == [True, True]
    assert [found[name].analyzed_at is not None for name in ("job", "finished_job")] == [True, True]
    rows = {row.all("th")[0].text: row for row in page.all("tbody")[0].all("tr")}
    assert {name.split()[0] for name in rows} == set(found)
    [job_row] = [row for name, row in rows.items() if name == "job"]
    cells = {each.given["data-name"]: each.text for each in job_row.all("td")}
    assert (cells["dead"] == "0", cells["bloat"]) == (False, "–")
    assert cells["size"].endswith((" kB", " bytes"))


def test_tells_how_often_over_the_rows_of_a_table_would_fit(conn: Connection, sql: Sql) -> None:
    sql(
        "INSERT INTO haulier.job (kind, payload) SELECT 'mail', jsonb_build_object('n', repeat(md5(n::text), 20))"
        " FROM generate_series(1, 30000) AS n RETURNING 1"
    )
    sql("DELETE FROM haulier.job WHERE mod(hashtext(id::text), 4) <> 0 RETURNING 1")
    sql("VACUUM ANALYZE haulier.job")

    [found] = [each for each in list_tables(conn) if each.name == "job"]

    assert found.bloat is not None
    assert 2 < found.bloat < 10


def test_shows_the_checks_where_the_tables_are_late(browser: Browser, conn: Connection) -> None:
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.tick IN ACCESS EXCLUSIVE MODE")
        try:
            page = browser.page("/ui/database")
        finally:
            cursor.execute("ROLLBACK")

    assert "Not available just now: somebody has locked what is read here" in page.text
    assert len(page.all("ul", class_="checks")) == 1


def test_puts_the_worst_first_and_says_what_to_do() -> None:
    def check(name: str, state: CheckState, fix: str | None = None) -> Check:
        return Check(name, state, 1.0, Threshold("seconds", 300, 1800), "told", "does", fix)

    checks = [
        check("size", CheckState.OK),
        check("slots", CheckState.UNKNOWN),
        check("locks", CheckState.WARN, "End who holds it: SELECT 1;"),
        check("vacuum", CheckState.BAD),
    ]
    found = worst_first(checks)

    assert [each.name for each in found] == ["vacuum", "locks", "slots", "size"]
    assert states_of(checks) == "1 well, 2 to look at, 1 not known"
    assert fix_of(found[1].fix or "") == ("End who holds it:", "SELECT 1;")
    assert limits_of(found[1].threshold) == "look from 5 min, bad from 30 min"


@pytest.mark.parametrize(
    ("fix", "words", "command"),
    [
        ("", "", ""),
        ("Commit or end it: SELECT pg_terminate_backend(7);", "Commit or end it:", "SELECT pg_terminate_backend(7);"),
        ("REINDEX INDEX CONCURRENTLY haulier.job_claim;", "", "REINDEX INDEX CONCURRENTLY haulier.job_claim;"),
        (
            "End the oldest (see transactions); then VACUUM haulier.job;",
            "End the oldest (see transactions); then",
            "VACUUM haulier.job;",
        ),
        ("See SHOW POOLS of the pool.", "See SHOW POOLS of the pool.", ""),
        ("Run `haulier migrate`, or start a worker.", "Run `haulier migrate`, or start a worker.", ""),
    ],
)
def test_tells_words_from_what_can_be_pasted(fix: str, words: str, command: str) -> None:
    assert fix_of(fix) == (words, command)


@pytest.mark.parametrize(
    ("scopes", "queues", "status"),
    [([Scope.READ], None, 403), ([Scope.ADMIN], ["mail"], 403), ([Scope.READ, Scope.OPERATE], None, 200)],
)
def test_is_for_those_who_operate_every_queue(
    signed_in: SignedIn, scopes: list[Scope], queues: Any, status: int
) -> None:
    browser = signed_in(*scopes, queues=queues)

    assert browser.get("/ui/database").status_code == status
    assert (browser.page("/ui/help").all("a", href="/ui/database") != []) == (status == 200)


def test_is_read_once_in_a_while(browser: Browser) -> None:
    seen = browser.page("/ui/database").all("main")[0].given["data-seen"]

    assert browser.get("/ui/database", Haulier_Live=seen).status_code == 204
