"""docs/orms.md shows files of the shops in tests/shops, whose tests run them."""

from __future__ import annotations

from tests.docs.reading import ROOT, blocks_of, text_of
from tests.shops.conftest import DJANGO

PAGE = "docs/orms.md"
MOST_WORDS = 700


def test_each_block_is_a_file_of_a_shop() -> None:
    files = [block for block in blocks_of(PAGE) if block.language == "python"]
    shops = ROOT / "tests" / "shops"

    assert [file.file for file in files] == [
        "kinds.py",
        "shop/tests.py",
        "database.py",
        "conftest.py",
        "shop_worker.py",
    ]
    for file in files:
        _, _, text = file.text.partition("\n")
        paths = [shops / shop / str(file.file) for shop in ("django_shop", "flask_shop")]
        assert text in [path.read_text(encoding="utf-8") for path in paths if path.exists()], file.file


def test_the_settings_are_those_of_the_shop() -> None:
    [settings] = [block for block in blocks_of(PAGE) if block.file == ".env"]

    assert dict(line.split("=") for line in settings.text.splitlines()) == DJANGO


def test_is_short() -> None:
    assert len(text_of(PAGE).split()) <= MOST_WORDS
