"""A Django shop whose jobs use its models. ..."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shops.conftest import DJANGO, HERE, JOBS, THREADS, Shop, shop_of, work_through_restarts


def shop_at(dsn: str) -> Shop:
    return Shop(HERE / "django_shop", dsn, DJANGO)


@pytest.mark.direct("Django makes a database for its tests, which the pool does not know")
def test_its_own_tests_pass_and_no_migration_is_missing(fresh_database: str) -> None:
    shop = shop_at(fresh_database)

    assert "No changes detected" in shop.run("manage.py", "makemigrations", "--check")
    assert "Ran 4 tests" in shop.run("manage.py", "test", "--noinput")
    shop.run("manage.py", "migrate")
    # Only of tests; and no table of the app's own.
    assert shop.ask(
        "SELECT to_regclass('haulier.job'), to_regclass('haulier_job'), to_regclass('shop_order')::text"
    ) == [(None, None, "shop_order")]


def test_its_worker_names_the_setting_that_is_missing(tmp_path: Path) -> None:
    shop = Shop(HERE / "django_shop", "postgres://nowhere/", {**DJANGO, "DJANGO_SETTINGS_MODULE": ""})

    with pytest.raises(AssertionError, match=r"cannot be imported: ImproperlyConfigured: .* DJANGO_SETTINGS_MODULE"):
        shop.run("-m", "haulier", "worker")


def test_its_jobs_run_on_after_postgres_was_restarted(server, tmp_path: Path) -> None:
    shop = shop_at(shop_of(server))
    shop.run("manage.py", "migrate")

    with shop.working(tmp_path / "log", CONN_MAX_AGE=600):
        first, idle, loaded, before, after = work_through_restarts(shop, server)

    assert first == idle == {("succeeded", 1): JOBS}
    assert {status for status, _ in loaded} == {"succeeded"}
    # One for each thread that has run a job, and none left over from before a restart.
    assert 1 <= before[""] <= THREADS
    assert 1 <= after[""] <= THREADS
    assert f"{5 + THREADS} database connections of which {THREADS} are the handlers'" in (tmp_path / "log").read_text()


def test_a_transaction_that_a_handler_leaves_open_fails_its_attempt_alone(server, tmp_path: Path) -> None:
    shop = shop_at(shop_of(server))
    shop.run("manage.py", "migrate")
    ways = ("atomic", "SQL", "set_autocommit")

    # The same thread runs all of them; with 0, a connection lasts for a run.
    for age in (0, 600):
        settings = {"HAULIER_KINDS": "kinds,careless", "WORKER_THREADS": 1, "CONN_MAX_AGE": age}
        with shop.working(tmp_path / f"log{age}", **settings):
            for way in ways:
                held = shop.enqueue("hold", {"way": way}, max_attempts=1)
                assert shop.all_ended({held}) == {("failed_permanent", 1): 1}
                assert shop.all_ended(shop.thank(10)) == {("succeeded", 1): 10}
            [(order,)] = shop.ask("INSERT INTO shop_order (email, thanked) VALUES ('late', false) RETURNING id")
            shop.all_ended({shop.enqueue("let_go", {"order_id": order})})

    assert shop.ask("SELECT DISTINCT last_error LIKE %s FROM haulier.finished_job WHERE kind = 'hold'", ERROR) == [
        (True,)
    ]
    assert shop.ask("SELECT result FROM haulier.finished_job WHERE kind = 'let_go'") == [("closed in vain",)] * 2
    assert shop.ask("SELECT email, thanked, count(*) FROM shop_order GROUP BY 1, 2 ORDER BY 1") == [
        ("ann@example.com", True, 2 * len(ways) * 10),
        ("late", True, 2),
    ]


ERROR = "RuntimeError: the handler left a transaction open on database default%"
