"""The table "Where is …?" of CONTRIBUTING.md leads to what the product calls. It ..."""

from __future__ import annotations

import re
from pathlib import Path

from tests.architecture.reading import OURS, ROOT, module_of
from tests.architecture.uses import attributes, full_name, methods, named_at_the_top, users
from tests.docs.reading import names_in, section, tables, text_of

QUESTIONS = [row for row in tables(section("CONTRIBUTING.md", "## Where is …?")) if len(row) == 3]


def path_of(name: str, beside: Path) -> Path | None:
    """Return the file or folder of this name, from the root of the repository or beside another file."""
    return next((path for path in (ROOT / name, beside.parent / name) if path.exists()), None)


def is_called(name: str, path: Path) -> bool:
    """Return whether a file has this function, class, constant or statement, and the product uses it."""
    if path.suffix == ".sql":
        return re.search(rf"-- (name|part): {name}$|FUNCTION {name}\(", path.read_text(), re.MULTILINE) is not None
    module = module_of(str(path.relative_to(ROOT))) if path.suffix == ".py" else ""
    if module not in OURS:
        return False
    if name in methods(module):
        return name in attributes()
    return name in named_at_the_top(module) and bool(users(full_name(module, name)))


def unanswered(question: str, file: str, what: str) -> list[str]:
    """Return the names of a row that lead nowhere."""
    [first] = names_in(file)
    names = [name for name in names_in(what) if not re.search(r"/|\.(sql|md|py)$", name)]
    files = [first, *(name for name in names_in(what) if name not in names)]
    paths = [path for name in files if (path := path_of(name, ROOT / first))]
    missing = [name for name in files if path_of(name, ROOT / first) is None]
    return missing + [name for name in names if not any(is_called(name, path) for path in paths)]


def test_each_answer_leads_to_what_the_product_calls() -> None:
    assert len(QUESTIONS) >= 22
    assert {row[0]: names for row in QUESTIONS if (names := unanswered(*row))} == {}
    # Each has at least one name.
    assert [row[0] for row in QUESTIONS if not names_in(row[2])] == []


def test_one_page_of_1200_words_and_three_drawings_has_each_answer() -> None:
    page = text_of("docs/architecture.md")

    assert [row[0] for row in QUESTIONS if Path(names_in(row[1])[0]).name not in page] == []
    assert (len(page.split()) <= 1200, page.count("```")) == (True, 6)
