"""Each attack in docs/reliability.md names tests that exist."""

from __future__ import annotations

from pathlib import Path

from lab.chaos.report import PAGE
from lab.page import insert
from tests.docs.attacks import ATTACKS, path_of, table

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_table():
    text = PAGE.read_text(encoding="utf-8")

    assert text == insert(text, "attacks", table())


def test_every_test_that_it_names_exists():
    missing = []
    for test in (test for attack in ATTACKS for test in attack.tests):
        file, name = path_of(test)
        path = ROOT / file
        if not path.exists() or f"def {name or 'test_'}" not in path.read_text(encoding="utf-8"):
            missing.append((file, name))

    assert missing == []
