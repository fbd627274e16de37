"""The built documentation site: complete, and usable without any other host. `make docs` builds it and runs this."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import haulier.kinds
import haulier.testing
from app.api import build
from haulier.cli.root import COMMANDS
from haulier.config import Config
from tests.docs.reading import ROOT, text_of

pytestmark = pytest.mark.site

SITE = ROOT / "build" / "site"
# What a browser loads by itself. An <a> it does not follow, and canonical and next pages are only named.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "use": "href"}


class Assets(HTMLParser):
    """The addresses that a browser loads with a page, and the ids that links can lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the address and the id of an element."""
        named = dict(attrs)
        self.ids.add(named.get("id") or "")
        if tag in LOADED and named.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.add(named.get(LOADED[tag]) or "")


@pytest.fixture(scope="module")
def by_page() -> dict[str, Assets]:
    return {path.relative_to(SITE).as_posix(): Assets(path) for path in sorted(SITE.rglob("*.html"))}


def test_site_has_each_page_of_the_docs(by_page: dict[str, Assets]) -> None:
    written = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    expected = {path.with_suffix(".html").as_posix().replace("README", "index") for path in written}

    assert expected - by_page.keys() == set()


def test_pages_load_nothing_from_another_host(by_page: dict[str, Assets]) -> None:
    foreign = re.compile(r"([a-z]+:)?//")

    assert [(page, url) for page, assets in by_page.items() for url in assets.addresses if foreign.match(url)] == []
    assert len(set.union(*(assets.addresses for assets in by_page.values()))) > 10
    styles = [path.read_text(encoding="utf-8") for path in SITE.rglob("*.css")]
    assert [url for style in styles for url in re.findall(r"url\(['\"]?((?:https?:)?//[^)]*)", style)] == []


def test_what_pages_load_is_part_of_the_site(by_page: dict[str, Assets]) -> None:
    def missing(page: str, assets: Assets) -> Iterator[str]:
        # The page for an unknown address does not know where it stands.
        for url in assets.addresses - {""} if page != "404.html" else ():
            if not url.startswith("data:") and not (SITE / page).parent.joinpath(url.partition("?")[0]).is_file():
                yield f"{page}: {url}"

    assert [each for page, assets in by_page.items() for each in missing(page, assets)] == []


def test_search_works_in_pages_that_are_opened_as_files(by_page: dict[str, Assets]) -> None:
    _, _, index = (SITE / "search" / "search_index.js").read_text(encoding="utf-8").partition("var __index = ")
    locations = {entry["location"].partition("#")[0] for entry in json.loads(index)["docs"]}

    assert by_page.keys() - {"404.html"} == locations
    assert "iframe-worker-1.0.4.js" in by_page["index.html"].addresses


def test_reference_has_each_command_call_and_python_name(by_page: dict[str, Assets]) -> None:
    document = json.loads(build(Config("postgres://db.example.com/haulier")).extensions["haulier_openapi"])
    calls = {each["operationId"] for item in document["paths"].values() for each in item.values() if "tags" in each}

    assert {f"haulier-{name}" for name in COMMANDS} - by_page["reference/commands.html"].ids == set()
    assert calls - by_page["reference/http-calls.html"].ids == set()
    for module in (haulier.kinds, haulier.testing):
        page = by_page[f"reference/{module.__name__.rpartition('.')[2]}.html"]
        assert {f"{module.__name__}.{name}" for name in module.__all__} - page.ids == set()


def test_lists_and_tables_of_a_code_host_are_lists_and_tables_of_the_site() -> None:
    paragraphs = {
        path.name: re.findall(r"<p>(?:(?!</p>).)*?(?:\n(?:- |\d+\. |\|)|```)[^\n]{0,60}", path.read_text(), re.DOTALL)
        for path in SITE.rglob("*.html")
    }

    assert {page: found for page, found in paragraphs.items() if found} == {}


def test_home_page_is_short() -> None:
    assert len(text_of("docs/index.md").split()) <= 150
