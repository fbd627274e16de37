"""No page uses a word of Haulier's own before it has said what the word means, or links to where that is said."""

from __future__ import annotations

import re

import pytest

from tests.docs.reading import ROOT, without_blocks

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_explains_each_of_its_words_where_it_first_stands(page) -> None:
    text = prose(page.read_text(encoding="utf-8"))
    spans = explained(text)

    unexplained = []
    for word in WORDS:
        first = re.search(rf"\b(?:{word})\b", text, flags=re.IGNORECASE)
        if first and not any(start <= first.start() < end for start, end in spans):
            unexplained.append(text[max(0, first.start() - 60) : first.end() + 30])
    assert unexplained == []
