"""The page of the database: it ..."""

from __future__ import annotations

from psycopg2.extensions import connection as Connection

from app.web.pages.database import TITLES, fix_of, limits_of, states_of, worst_first
from haulier.domain.checks import Check, CheckState, Threshold
from haulier.queue import jobs
from haulier.queue.health.database_checks import THRESHOLDS
from haulier.queue.health.tables import Table, list_tables
from tests.conftest import eventually
from tests.web.browsing import Browser
from tests.web.jobs import enqueue


def test_shows_each_check_with_its_state(browser: Browser) -> None:
    page = browser.page("/ui/database")

    shown = {each.attrs["id"].removeprefix("check-") for each in page.all("li") if "id" in each.attrs}
    assert shown == set(THRESHOLDS) == set(TITLES)
    assert "PostgreSQL 1" in page.all("div", class_="title")[0].text


def test_shows_the_tables_with_their_sizes_and_the_partitions_together(browser: Browser, conn: Connection, sql) -> None:
    for _ in range(3):
        jobs.cancel(conn, enqueue(conn))
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
    rows = page.named_rows()
    assert {name.split()[0] for name in rows} == set(found)
    cells = rows["job"].cells()
    assert (cells["dead"] == "0", cells["bloat"]) == (False, "–")
    assert cells["size"].endswith((" kB", " bytes"))


def test_says_how_many_times_its_rows_a_table_takes(conn: Connection, sql) -> None:
    sql(
        "INSERT INTO haulier.job (kind, payload) SELECT 'mail', jsonb_build_object('n', repeat(md5(n::text), 20))"
        " FROM generate_series(1, 30000) AS n RETURNING 1"
    )
    sql("DELETE FROM haulier.job WHERE mod(hashtext(id::text), 4) <> 0 RETURNING 1")
    sql("VACUUM ANALYZE haulier.job")

    [found] = [each for each in list_tables(conn) if each.name == "job"]

    assert found.bloat is not None
    assert 2 < found.bloat < 10


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
    assert states_of(checks) == "1 OK, 2 not OK, 1 unknown"
    assert fix_of(found[1].fix or "") == ("End who holds it:", "SELECT 1;")
    assert fix_of("End it (see locks); then VACUUM haulier.job;") == ("End it (see locks); then", "VACUUM haulier.job;")
    assert fix_of("See SHOW POOLS of the pool.") == ("See SHOW POOLS of the pool.", "")
    assert limits_of(found[1].threshold) == "warning from 5 min, bad from 30 min"
