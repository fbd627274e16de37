"""GET /database: how the database is, and how large its tables are. It ..."""

from __future__ import annotations

from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.queue.health.database_checks import THRESHOLDS

OF_A_TABLE = {
    *("name", "partitions", "rows", "dead_rows", "table_bytes", "index_bytes", "bloat", "vacuumed_at", "analyzed_at"),
}


def test_reports_each_check_and_of_the_tables_the_largest_first(client: FlaskClient) -> None:
    answer = client.get("/database").json

    assert answer.keys() == {"at", "version", "checks", "tables", "tables_message"}
    assert [check["name"] for check in answer["checks"]] == list(THRESHOLDS)
    tables = {each["name"]: each for each in answer["tables"]}
    assert all(each.keys() == OF_A_TABLE for each in tables.values())
    assert {"job", "finished_job", "audit", "worker"} <= tables.keys()
    # Of which none is by itself.
    assert [name for name in tables if name.startswith("finished_job_2")] == []
    assert (tables["finished_job"]["partitions"] > 1, tables["job"]["partitions"]) == (True, 0)
    sizes = [each["table_bytes"] + each["index_bytes"] for each in answer["tables"]]
    assert sizes == sorted(sizes, reverse=True)
    assert answer["tables_message"] is None


def test_reports_the_checks_if_the_tables_cannot_be_read(client: FlaskClient, conn: Connection) -> None:
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.tick IN ACCESS EXCLUSIVE MODE")
        try:
            answer = client.get("/database")
        finally:
            cursor.execute("ROLLBACK")

    assert answer.status_code == 200
    assert len(answer.json["checks"]) == len(THRESHOLDS)
    assert answer.json["tables"] is None
    assert answer.json["tables_message"] == "could not be read: canceling statement due to lock timeout"
