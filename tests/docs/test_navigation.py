"""The menu has every page once, the list of decisions each decision; pages explain the words that are Haulier's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.docs.reading import ROOT, links, text_of, without_blocks
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
    return list(entries(yaml.load(text_of("mkdocs.yml"), Settings)["nav"]))


def test_menu_and_list_of_decisions_have_each_page_once() -> None:
    decisions = [f"decisions/{link}" for link in links(text_of("docs/decisions/README.md")) if re.match(r"\d", link)]
    written = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]

    assert len(pages()) > 20
    assert sorted([*pages(), *decisions]) == sorted([*written, *(f"reference/{name}" for name in reference())])


FOLDER = ROOT / "docs/decisions"
DECISIONS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
MOST_WORDS = 200


def test_readme_lists_every_decision_by_its_number_and_title() -> None:
    lines = [line for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("- ")]

    titles = {path: path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for path in DECISIONS}
    assert lines == [f"- {path.name[:3]} [{title}]({path.name})" for path, title in titles.items()]
    numbers = [path.name[:3] for path in DECISIONS if re.match(r"\d{3}-[a-z]", path.name)]
    assert len(set(numbers)) == len(DECISIONS) >= 20


def test_each_decision_has_its_parts_in_at_most_200_words() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in DECISIONS}

    assert {name: len(text.split()) for name, text in texts.items() if len(text.split()) > MOST_WORDS} == {}
    # A decision that nobody could measure has no figure.
    parts = re.compile(r"# [^\n]+\n\n\*\*Context\b.+\n\n\*\*Decision\b.+(\n\n\*\*Figure\b.+)?", re.DOTALL)
    assert [name for name, text in texts.items() if not parts.fullmatch(text)] == []


GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page != GLOSSARY]
# Each by all of its forms.
WORDS = (
    r"back-offs?",
    r"beats?|heartbeats?",
    r"claim(?:s|ed|ing)?",
    r"dead (?:rows|entries)",
    r"drain(?:s|ed|ing)?",
    r"enqueue[sd]?|enqueuing",
    r"fence[sd]?",
    r"handlers?",
    r"housekeep(?:er|ing)",
    r"idempotent",
    r"isolated",
    r"jitter",
    r"knock(?:s|ed)?",
    r"lanes?",
    r"leases?",
    r"listeners?",
    r"orphans?",
    r"partition(?:s|ed)?",
    r"payloads?",
    r"poison",
    r"rescue[sd]?|rescuing",
    r"settle[sdr]?|settlers|settling",
    r"sleepers?",
    r"snapshots?",
    r"snooze[sd]?",
    r"stale",
    r"stuck",
    r"suspects?",
    r"uncharged",
    r"wake-ups?",
)


def prose(text: str) -> str:
    """Return what is read: no blocks, no headings, no tags, no code, no targets of links."""
    text = re.sub(r"^#.*$|<[^>\n]*>", "", without_blocks(text), flags=re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "", text))


def explained(text: str) -> set[tuple[int, int]]:
    """Return where the text emphasises or links: *a word that it explains*, **another**, [one explained elsewhere]."""
    return {found.span() for found in re.finditer(r"\*\*[^*]{1,60}\*\*|\*[^*]{1,60}\*|\[[^\]]+\]", text)}


def unexplained(text: str) -> list[str]:
    """Return the first use of each word that the text does not explain there, with what stands around it."""
    spans = explained(text)
    firsts = [first for word in WORDS if (first := re.search(rf"\b(?:{word})\b", text, flags=re.IGNORECASE))]
    return [
        text[max(0, first.start() - 60) : first.end() + 30]
        for first in firsts
        if not any(start <= first.start() < end for start, end in spans)
    ]


def test_explains_each_of_its_words_where_it_first_stands() -> None:
    by_page = {page.name: unexplained(prose(page.read_text(encoding="utf-8"))) for page in PAGES}

    assert {page: words for page, words in by_page.items() if words} == {}


def test_glossary_has_an_entry_for_each_of_them() -> None:
    terms = re.findall(r"^### (.+)$", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert [word for word in WORDS if not any(re.fullmatch(word, term) for term in terms)] == []
    assert terms == sorted(terms)
