"""No page uses a word of Haulier's own before it says what it means, or links to the glossary, which has them all."""

from __future__ import annotations

import re

from tests.docs.reading import ROOT, without_blocks

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
