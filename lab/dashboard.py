"""Finds the pages of a dashboard that runs: from the application's URL map, and by following the links of pages.

So a page that is added is found without anybody saying so. One that takes arguments, and to which no page leads with
any, is found to be missing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urldefrag, urlsplit

import requests
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, Rule

from app.site import build
from haulier.config import Config

HOME = "/ui"
SIGN_IN = f"{HOME}/sign-in"
# What a browser says of a link and a form on a page of ours.
SAME = {"Sec-Fetch-Site": "same-origin"}
# Not shown after signing in; files; and the answer that a page does not exist.
NO_PAGES = {"ui.static", "ui.sign_in.show", "ui.missing."}
# How many pages are looked at that differ only in their arguments or their query.
MOST_OF_ONE = 2


@dataclass(frozen=True)
class Pages:
    """What was found.

    `paths` are pages, by their endpoints, each with its query; others are the endpoints of files, and of what only
    leads on; unreached are the rules of pages to which no link leads; dead are the links that lead to no page, each
    with the page that has it.
    """

    paths: dict[str, list[str]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    unreached: list[str] = field(default_factory=list)
    dead: list[tuple[str, str]] = field(default_factory=list)

    @property
    def each(self) -> list[tuple[str, str]]:
        """Return every path, with its endpoint before it."""
        return [(endpoint, path) for endpoint, paths in self.paths.items() for path in paths]

    @property
    def all(self) -> list[str]:
        """Return every path."""
        return [path for _, path in self.each]

    @property
    def firsts(self) -> list[str]:
        """Return one path of each page."""
        return [paths[0] for paths in self.paths.values()]


@contextmanager
def url_map(url: str = "http://localhost") -> Iterator[MapAdapter]:
    """Give the map that finds the page of a path."""
    app = build(Config(database_url="postgres://localhost/nowhere"))
    try:
        yield app.url_map.bind(urlsplit(url).netloc)
    finally:
        app.extensions["haulier"].database.close()


def pages_of(urls: MapAdapter) -> list[Rule]:
    """Return the rules of all pages."""
    return [rule for rule in urls.map.iter_rules() if _is_page(rule)]


def _is_page(rule: Rule) -> bool:
    is_ui = rule.rule == HOME or rule.rule.startswith(f"{HOME}/")
    return is_ui and "GET" in (rule.methods or ()) and not rule.endpoint.startswith(tuple(NO_PAGES))


def without_charts(text: str) -> str:
    """Return the page without its charts and their tables, which budgets of its size leave out."""
    return re.sub(r"(?s)<svg.*?</svg>|<details class=\"data\".*?</details>", "", text)


def token_of(text: str) -> str:
    """Return what the forms of a page have to send."""
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    return html.unescape(found[1]) if found else ""


def sign_in(url: str, key: str) -> requests.Session:
    """Return a session of this API key. Raises: RuntimeError."""
    session = requests.Session()
    session.headers.update(SAME)
    csrf = token_of(session.get(f"{url}{SIGN_IN}").text)
    entered = session.post(f"{url}{SIGN_IN}", {"csrf": csrf, "key": key})
    if entered.url != f"{url}{HOME}":
        raise RuntimeError(f"cannot sign in: {entered.status_code}")
    return session


def _unseen(_path: str, _text: str) -> None:
    pass


def crawl(
    url: str,
    session: requests.Session,
    seeds: Sequence[str] = (),
    see: Callable[[str, str], object] = _unseen,
) -> Pages:
    """Return the pages that are found from the URL map and these paths; `see` is given the text of each."""
    found = Pages()
    with url_map(url) as urls:
        rules = pages_of(urls)
        ahead = [(path, "") for path in seeds]
        ahead += [(rule.rule, "") for rule in rules if not rule.arguments]
        while ahead:
            path, origin = ahead.pop(0)
            if (endpoint := _endpoint(urls, path)) is None:
                found.dead.append((path, origin))
            elif endpoint not in NO_PAGES and _is_wanted(found, endpoint, path, bool(origin)):
                ahead += [(link, path) for link in _visited(found, session, url, (endpoint, path, origin), see)]
        reached = found.paths.keys() | found.others
        found.unreached.extend(rule.rule for rule in rules if rule.endpoint not in reached)
    return found


def _endpoint(urls: MapAdapter, path: str) -> str | None:
    try:
        endpoint: str = urls.match(urlsplit(path).path, "GET")[0]
    except HTTPException:
        return None
    return endpoint


def _is_wanted(found: Pages, endpoint: str, path: str, is_link: bool) -> bool:
    known = found.paths.get(endpoint, [])
    return path not in known and not (is_link and len(known) >= MOST_OF_ONE)


def _visited(
    found: Pages,
    session: requests.Session,
    url: str,
    of: tuple[str, str, str],
    see: Callable[[str, str], object],
) -> list[str]:
    """Look at a page, and return its links."""
    endpoint, path, origin = of
    answer = session.get(f"{url}{path}")
    if answer.status_code != 200:
        # A path of the map may lack what its page is about; a link must not.
        found.dead.extend([(path, origin)] * bool(origin or answer.status_code >= 500))
        return []
    if answer.history or not answer.headers["Content-Type"].startswith("text/html"):
        found.others.add(endpoint)
        return [answer.url.removeprefix(url)] if answer.history else []
    found.paths.setdefault(endpoint, []).append(path)
    see(path, answer.text)
    links = [urldefrag(html.unescape(link)).url for link in re.findall(r'<a\b[^>]*\shref="([^"]*)"', answer.text)]
    # Below the path at which Haulier is mounted.
    root = urlsplit(url).path
    own = [link.removeprefix(root) for link in dict.fromkeys(links) if link.startswith(root)]
    return [link for link in own if link == HOME or link.startswith((f"{HOME}/", f"{HOME}?"))]
