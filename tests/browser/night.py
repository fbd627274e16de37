"""A service in its night: workers that can be killed, an overview that stays open, and what it says when."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Locator, Page
from psycopg2.extensions import connection as Connection

from lab.dashboard import HOME
from lab.descendants import children
from tests.browser.tab import PATIENCE_MS, Person, Tab, sign_in
from tests.conftest import PATIENCE, eventually, sql_on
from tests.web import ROOT, Server

KINDS = "tests.browser.shop tests.browser.night_kinds"
# Notes each change of the notices of an open overview: when, what each says, and whether it is out of sight.
NOTES = """
    window.notes = [];
    setInterval(() => {
        const shown = "[aria-labelledby=attention] .notice:not(.good, #acknowledged *)";
        const notices = [...document.querySelectorAll(shown)];
        const isHidden = (each) => !each.checkVisibility() || Boolean(each.closest("details"));
        const now = notices.map((each) => [each.textContent.replace(/\\s+/g, " ").trim(), isHidden(each)]);
        const last = window.notes.at(-1);
        if (!last || JSON.stringify(last[1]) !== JSON.stringify(now)) window.notes.push([Date.now() / 1000, now]);
    }, 200);
"""
UNITS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86_400}
LINE = "{:<22} {:>8} {:>7} {:>6} {:>7} {:>7}"


class Note(NamedTuple):
    """What an open overview said from this time on: of each notice the text, and whether it was out of sight."""

    at: float
    notices: Sequence[tuple[str, bool]]


@dataclass
class Incident:
    """Something that goes wrong. `says` is a pattern of what its notice says; within and most_clicks are limits."""

    name: str
    says: str
    within: float | None = None
    most_clicks: int | None = None
    began_at: float = field(default_factory=time.time)
    ended_at: float = float("inf")
    seconds: float | None = None
    place: int | None = None
    clicks: int | None = None

    def matches(self, text: str) -> bool:
        """Return whether the text of a notice is about this incident."""
        return re.search(self.says, text) is not None

    def notice(self, page: Page) -> Locator:
        """Return its notice on an overview."""
        return page.locator(".notice", has_text=re.compile(self.says))

    def faults(self) -> list[str]:
        """Return which of its limits it did not keep."""
        found = []
        if self.within is not None and (self.seconds is None or self.seconds > self.within):
            found.append(f"{self.name}: shown after {self.seconds} s, not within {self.within:.0f} s")
        if self.seconds is not None and self.place not in (1, 2):
            found.append(f"{self.name}: notice {self.place}, neither the first nor the second")
        if self.most_clicks is not None and (self.clicks is None or self.clicks > self.most_clicks):
            found.append(f"{self.name}: {self.clicks} clicks, not {self.most_clicks}")
        return found


@dataclass
class Night:
    """The service, and what is known of its incidents."""

    server: Server
    dsn: str
    conn: Connection
    # The overview stays open in the one tab; a person acts in the other.
    watch: Page
    person: Person
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows."""
        return sql_on(self.conn)(statement, *parameters)

    def start_worker(self, **settings: str) -> subprocess.Popen[bytes]:
        """Start a worker, with default settings but these, and return it once it beats."""
        given = {
            "DATABASE_URL": self.dsn,
            "HAULIER_KINDS": KINDS,
            "SHOP_FIXED": str(self.folder / "fixed"),
            "PYTHONPATH": str(ROOT),
            "WORKER_METRICS_PORT": "0",
            "SHUTDOWN_SECONDS": "1",
            "LOG_LEVEL": "ERROR",
            "PATH": os.environ["PATH"],
            **settings,
        }
        worker = subprocess.Popen([sys.executable, "worker.py"], cwd=ROOT, env=given)
        self.workers.append(worker)
        eventually(lambda: self.sql("SELECT FROM haulier.worker WHERE pid = %s", worker.pid))
        return worker

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """End a worker at once, as the kernel does if memory is short."""
        worker.kill()
        worker.wait(PATIENCE)
        self.workers.remove(worker)

    def begin(self, name: str, says: str, *, within: float | None = None, most_clicks: int | None = None) -> Incident:
        """Return a new incident, which begins now."""
        self.incidents.append(Incident(name, says, within, most_clicks))
        return self.incidents[-1]

    def notes(self) -> list[Note]:
        """Return what the open overview has said so far."""
        return [Note(at, [tuple(each) for each in notices]) for at, notices in self.watch.evaluate("window.notes")]

    def see(self, incident: Incident) -> None:
        """Wait until a notice of the incident is shown, and note when and where."""

        def shown() -> Note | None:
            later = [note for note in self.notes() if note.at >= incident.began_at]
            return next((note for note in later if any(incident.matches(text) for text, _ in note.notices)), None)

        note = eventually(shown, 4 * PATIENCE)
        incident.seconds = round(note.at - incident.began_at, 1)
        incident.place = 1 + [incident.matches(text) for text, _ in note.notices].index(True)

    def end(self, incident: Incident) -> None:
        """Wait until no notice of the incident is left."""
        eventually(lambda: not any(incident.matches(text) for text, _ in self.notes()[-1].notices), 4 * PATIENCE)
        incident.ended_at = time.time()

    @contextmanager
    def acting(self, incident: Incident) -> Iterator[Person]:
        """Give the person, who looks at the overview; count the clicks until the incident is resolved."""
        self.person.page.goto(f"{self.server.url}{HOME}")
        before = self.person.clicks
        yield self.person
        incident.clicks = self.person.clicks - before

    def faults(self, incident: Incident) -> list[str]:
        """Return what was wrong: with its limits, and with the notices that were shown while it lasted."""
        found = incident.faults()
        for at, notices in self.notes():
            if not incident.began_at <= at <= incident.ended_at:
                continue
            for text, is_hidden in notices:
                found += [f"out of sight: {text}"] if is_hidden else []
                found += [] if self._is_known(text, at) else [f"no incident: {text}"]
            texts = [text for text, _ in notices if incident.matches(text)]
            found += [f"{len(texts)} notices: {texts}"] if len(texts) > 1 else []
        return list(dict.fromkeys(found))

    def _is_known(self, text: str, at: float) -> bool:
        # An overview that was made before the end may come after it.
        return any(each.matches(text) and each.began_at <= at <= each.ended_at + 10 for each in self.incidents)

    def table(self) -> list[str]:
        """Return the incidents as the lines of a table."""
        lines = [LINE.format("incident", "shown, s", "limit", "place", "clicks", "limit")]
        for each in self.incidents:
            cells = (each.seconds, each.within, each.place, each.clicks, each.most_clicks)
            lines.append(LINE.format(each.name, *("–" if cell is None else f"{cell:g}" for cell in cells)))
        return lines


def open_night(server: Server, dsn: str, conn: Connection, tab: Tab, folder: Path) -> Night:
    """Sign in, and return the night with an overview that stays open."""
    watch = tab.page
    watch.add_init_script(NOTES)
    sign_in(watch, server.url, conn)
    page = tab.context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    return Night(server, dsn, conn, watch, Person(page), folder)


@contextmanager
def frozen(conn: Connection) -> Iterator[None]:
    """Stop every process of the database's server, and let them go on afterwards."""
    [(folder,)] = sql_on(conn)("SHOW data_directory")
    postmaster = int(Path(folder, "postmaster.pid").read_text().split()[0])
    pids = [postmaster, *children(postmaster)]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Progress(NamedTuple):
    """What the page of an operation says at a time: which share is done, and how long the rest will take."""

    at: float
    share: float
    seconds_left: float


def progress(page: Page, share: float) -> Progress:
    """Wait until the page of an operation says that this share of it is done, and return what it says."""

    def said() -> Progress | None:
        text = page.locator("section[aria-labelledby=progress] header").inner_text()
        found = re.search(r"(?s)(\d+) %.*about (.+) left", text)
        now = Progress(time.time(), int(found[1]) / 100, seconds_of(found[2])) if found else None
        return now if now and now.share >= share else None

    return eventually(said, 4 * PATIENCE)


def seconds_of(duration: str) -> float:
    """Return how long a duration in words is, such as `1 min 20 s`."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (\w+)", duration))


def stop(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """End workers in order."""
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.wait(PATIENCE)
