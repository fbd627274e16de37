"""The menu of the documentation site leads to every page once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.docs.reading import ROOT, links, text_of
from tools.reference import reference

DOCS = ROOT / "docs"


class Settings(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags name functions."""


Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def entries(menu: list[Any]) -> Iterator[str]:
    """Yield the pages of the menu, in order."""
    for entry in menu:
        target = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from [target] if isinstance(target, str) else entries(target)


def pages() -> list[str]:
    """Return the pages that the menu has."""
    return list(entries(yaml.load(text_of("mkdocs.yml"), Settings)["nav"]))


def test_menu_and_list_of_decisions_have_each_page_once() -> None:
    decisions = [f"decisions/{link}" for link in links(text_of("docs/decisions/README.md")) if re.match(r"\d", link)]
    written = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]

    assert len(pages()) > 20
    assert sorted([*pages(), *decisions]) == sorted([*written, *(f"reference/{name}" for name in reference())])


def test_menu_has_the_three_sections_in_order() -> None:
    menu = [next(iter(entry)) for entry in yaml.load(text_of("mkdocs.yml"), Settings)["nav"]]

    assert menu[:4] == ["Haulier", "Use", "Operate", "Inside"]
