"""What the documentation names is there: files, tests, statements, links."""

from __future__ import annotations

import ast
import re

from haulier.postgres.sql_files import SQL
from haulier.queue.upkeep.steps import SCHEMA
from lab.chaos.report import PAGE
from lab.page import insert
from tests.docs.attacks import ATTACKS, path_of, table
from tests.docs.reading import PAGES, ROOT, anchors, links, names_in, section, tables, text_of, without_blocks


def test_tests_named_in_the_docs_exist() -> None:
    existing = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }

    promises = list(tables(section("docs/promises.md", "## Promises")))
    assert len(promises) == 9
    assert [row[0] for row in promises if not [name for name in names_in(row[2]) if name in existing]] == []
    for page in PAGES:
        named = [
            name
            for name in names_in(without_blocks(page.read_text(encoding="utf-8")))
            if re.fullmatch(r"test_\w+", name)
        ]
        assert [name for name in named if name not in existing] == [], page.name


def test_no_test_of_a_promise_is_left_to_make_test_slow() -> None:
    slow = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and "pytest.mark.slow" in map(ast.unparse, node.decorator_list)
    }

    promises = list(tables(section("docs/promises.md", "## Promises")))
    assert len(slow) >= 3
    assert [name for row in promises for name in names_in(row[2]) if name in slow] == []


def test_statements_named_in_the_life_of_a_job_exist() -> None:
    named = [name for row in tables(section("docs/promises.md", "## The life of a job")) for name in names_in(row[1])]

    assert len(named) > 15
    assert [name for name in named if name not in SQL] == []


def test_links_lead_somewhere() -> None:
    broken = set()
    for page in PAGES:
        for link in links(page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = link.partition("#")
            path = (page.parent / target).resolve() if target else page
            if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
                broken.add(f"{page.name} links to {link}")

    assert broken == set()


def test_pages_and_sections_that_code_names_exist() -> None:
    files = [path for room in ("haulier", "app", "lab", "ops") for path in (ROOT / room).rglob("*.*")]
    sources = [path for path in files if path.suffix in {".py", ".sql", ".html", ".yml", ".json"}]

    named = {
        (page, anchor or heading.lower().replace(" ", "-"))
        for path in sources
        for page, anchor, heading in re.findall(
            r'\b(docs/[\w-]+\.md)(?:#([\w-]+)|, "([^"]+)")?', path.read_text(encoding="utf-8")
        )
    }

    assert {("docs/database.md", "days-ahead"), ("docs/watch.md", "hauliernoworkers")} <= named
    assert {page for page, _ in named if not (ROOT / page).is_file()} == set()
    assert {(page, anchor) for page, anchor in named if anchor and anchor not in anchors(text_of(page))} == set()


def test_nothing_of_the_writers_machine_is_in_the_docs() -> None:
    places = r"/(?:work|root|home/\w+|Users/\w+|tmp|opt)/"
    # No package index by its address: which one is used is the reader's own setting.
    indexes = r"(?i:index-url|find-links|https?://[^/\s]*/simple|registry\.)"

    assert {
        f"{page.name}: {found!r}"
        for page in PAGES
        for found in re.findall(rf"{places}|{indexes}|\t", page.read_text(encoding="utf-8"))
    } == set()


def test_the_readmes_demo_says_the_version_of_the_schema() -> None:
    assert f"applied schema version {SCHEMA.version};" in (ROOT / "README.md").read_text(encoding="utf-8")


# --- docs/reliability.md


def test_the_page_of_reliability_has_the_table_of_attacks():
    text = PAGE.read_text(encoding="utf-8")

    assert text == insert(text, "attacks", table())


def test_every_test_that_an_attack_names_exists():
    missing = []
    for test in (test for _, _, tests in ATTACKS for test in tests):
        file, name = path_of(test)
        path = ROOT / file
        if not path.exists() or f"def {name or 'test_'}" not in path.read_text(encoding="utf-8"):
            missing.append((file, name))

    assert missing == []
