"""`haulier cell assign` and what shows that a key has moved. It ..."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from haulier.cli.root import root
from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from haulier.queue.upkeep.migrate import migrate
from tests.click_runner import Runner
from tests.command_line.conftest import UNSET

NOWHERE = "postgresql://u:secret@127.0.0.1:1/x"


def run(*command: str, **settings: str) -> tuple[int, str, str]:
    ended = Runner({**dict.fromkeys(UNSET), "TARGET_DATABASE_URL": None, **settings}).invoke(root, command)
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture
def other_database(
    _make_migrated_database: Callable[[], str], _drop_database: Callable[[str], None], direct: Callable[[str], str]
) -> Iterator[str]:
    dsn = direct(_make_migrated_database())
    yield dsn
    _drop_database(dsn)


@pytest.mark.direct("makes a database a cell")
def test_says_what_it_did_and_what_is_left_to_do(migrated_database: str, other_database: str):
    settings = {"DATABASE_URL": migrated_database, "TARGET_DATABASE_URL": other_database}
    with closing(connect(migrated_database)) as conn, closing(connect(other_database)) as there:
        key, token = api_keys.create(conn, NewKey("shop", [Scope.ENQUEUE]), actor="cli")
        without_a_number = run("cell", "assign", key.id, **settings)
        for number, each in enumerate((conn, there), 1):
            migrate(each, retention_days=30, cell=number)

        code, out, err = run("cell", "assign", key.id, **settings)

        assert without_a_number[2].startswith("haulier: DATABASE_URL: its database has no number")
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            f"copied the API key {key.id} to cell 2, which does not accept new jobs with it yet",
            "copied 0 idempotency records",
            "closed it in cell 1, which answers 503 to new jobs",
            "copied 0 idempotency records of the last minutes",
            "opened it in cell 2",
            f'Now name "{key.id}" in cells.toml in the keys of cell 2, and not in those of cell 1; run `haulier cells'
            " nginx`, and reload nginx. Until then its new jobs get 503 with Retry-After. Its rate limit starts from"
            " the beginning.",
        ]
        assert "good, moved to cell 2" in run("keys", "list", DATABASE_URL=migrated_database)[1]
        unreachable = run("cell", "assign", key.id, **{**settings, "TARGET_DATABASE_URL": NOWHERE})
        assert (unreachable[0], "secret" in unreachable[2]) == (1, False)
        assert unreachable[2].startswith("haulier: TARGET_DATABASE_URL: ")
        code, _, err = run("cell", "assign", token, **settings)
        assert (code, token in err, "must be the id of an API key" in err) == (2, False, True)


def test_names_the_setting_that_is_missing_or_wrong(database: str):
    for target, said in {
        "": "TARGET_DATABASE_URL is not set: set it to the database of the cell that is to take the key",
        "mysql://x": "TARGET_DATABASE_URL: must begin with postgres:// or postgresql://",
        NOWHERE: "DATABASE_URL: its database has no number: run `haulier migrate` there with CELL set",
    }.items():
        code, out, err = run("cell", "assign", "shop", DATABASE_URL=database, TARGET_DATABASE_URL=target)

        assert (code, out, err) == (1, "", f"haulier: {said}\n")
    assert "TARGET_DATABASE_URL" not in os.environ
