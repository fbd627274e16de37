"""A Flask shop whose jobs use SQLAlchemy. ..."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shops.conftest import HERE, JOBS, SQLALCHEMY, THREADS, Shop, shop_of, work_through_restarts


def shop_at(dsn: str) -> Shop:
    return Shop(HERE / "flask_shop", dsn, SQLALCHEMY)


@pytest.mark.direct("its Postgres is its own")
def test_its_own_tests_pass(fresh_database: str) -> None:
    by_itself = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".")

    assert "2 passed" in shop_at(fresh_database).run("-m", "pytest", *by_itself, "shop_tests.py")


@pytest.mark.slow
def test_its_jobs_run_on_after_postgres_was_restarted(server, tmp_path: Path) -> None:
    shop = shop_at(shop_of(server))
    shop.run("-c", "from database import Base, engine; Base.metadata.create_all(engine)")

    with shop.working(tmp_path / "log"):
        first, idle, loaded, _, after = work_through_restarts(shop, server)

    assert first == idle == {("succeeded", 1): JOBS}
    assert {status for status, _ in loaded} == {"succeeded"}
    assert 1 <= after[""] <= THREADS
    # Each session has ended with its run: no transaction is open in between.
    assert shop.ask("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'") == [(0,)]


def test_a_transaction_that_a_handler_leaves_open_takes_no_row_of_a_later_job(server, tmp_path: Path) -> None:
    shop = shop_at(shop_of(server))
    shop.run("-c", "from database import Base, engine; Base.metadata.create_all(engine)")

    with shop.working(tmp_path / "log", HAULIER_KINDS="kinds,careless", WORKER_THREADS=1):
        for way in ("session", "psycopg"):
            shop.all_ended({shop.enqueue("hold", {"way": way}, max_attempts=1)})
            later = shop.thank(10) | {shop.enqueue("order", {}) for _ in range(10)}
            assert shop.all_ended(later) == {("succeeded", 1): 20}

    # Nobody but the handler knows of a connection of its own.
    errors = "SELECT payload ->> 'way', last_error LIKE %s FROM haulier.finished_job WHERE kind = 'hold' ORDER BY 1"
    assert shop.ask(errors, "RuntimeError: the handler left a transaction open: %") == [
        ("psycopg", None),
        ("session", True),
    ]
    kept = "SELECT email, thanked, count(*) FROM shop_order WHERE email <> 'lost@example.com' GROUP BY 1, 2 ORDER BY 1"
    assert shop.ask(kept) == [("ann@example.com", True, 20), ("kept@example.com", True, 20)]
