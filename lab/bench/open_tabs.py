"""Tabs of the dashboard that stay open, and ask for news as app.js does."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

from lab.dashboard import HOME, SAME

TABS, TAB_SECONDS = 20, 5.0
# What tabs are left open on.
OPEN = (HOME, f"{HOME}/jobs", f"{HOME}/jobs?status=queued", f"{HOME}?span=24h", f"{HOME}/queues/queue-1")
LIVE = "Haulier-Live"
_SEEN = re.compile(r'data-seen="(\w+)"')


def seen(text: str) -> str:
    """Return the digest of what a page shows, which a poll sends; "" if the text is no page."""
    found = _SEEN.search(text)
    return found[1] if found else ""


@contextmanager
def watched(port: int, tabs: int) -> Iterator[threading.Event]:
    """Keep tabs open, each of which asks for news as app.js does once all of them have been loaded.

    They ask while the event is set. Raises: RuntimeError if one was refused.
    """
    over, asks = threading.Event(), threading.Event()
    asks.set()
    loaded = threading.Barrier(tabs + 1)
    refused: list[str] = []
    with ExitStack() as stack:
        threads = [
            threading.Thread(target=_Tab(port, n, loaded, refused.append).keep_open, args=(over, asks), daemon=True)
            for n in range(tabs)
        ]
        for thread in threads:
            thread.start()
        stack.callback(_end, over, threads)
        loaded.wait(timeout=60)
        yield asks
    if refused:
        raise RuntimeError(f"a tab was refused: {refused[0]}")


def _end(over: threading.Event, threads: Sequence[threading.Thread]) -> None:
    over.set()
    for thread in threads:
        thread.join()


# By http.client, since in the measure's own process `requests` would take a multiple of the time that the server takes.
@dataclass
class _Tab:
    """One tab, and the digest of what it shows."""

    port: int
    number: int
    loaded: threading.Barrier
    refused: Callable[[str], None]
    seen: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    def keep_open(self, over: threading.Event, asks: threading.Event) -> None:
        """Load the page, and ask for news of it from then on, at other moments than the other tabs."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            self._ask(connection)
            self.loaded.wait(timeout=60)
            pause = TAB_SECONDS * self.number / TABS
            while not over.wait(pause):
                if asks.is_set():
                    self._ask(connection)
                pause = TAB_SECONDS * (0.9 + 0.2 * (self.number % 7) / 7)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        path = OPEN[self.number % len(OPEN)]
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        asked = {LIVE: self.seen} if self.seen else {}
        connection.request("GET", path, headers={**SAME, **asked, "Cookie": cookies})
        answer = connection.getresponse()
        text = answer.read().decode()
        for cookie in answer.headers.get_all("Set-Cookie", ()):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        if shown := seen(text):
            self.seen = shown
        # A tab that finds no place asks again: all of them are one caller.
        elif answer.status not in (204, 429, 503):
            self.refused(f"{answer.status} {path}")
