"""docs/decisions has a short page for each decision, and its README lists them all."""

from __future__ import annotations

import re

from tests.docs.reading import ROOT

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
