"""How soon each page of the dashboard is made beside many jobs, and what twenty open tabs take from the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests

from haulier.domain.operation import OperationAction
from haulier.domain.schedules.schedule import Rule
from haulier.postgres.connection import connect as own_connection
from haulier.queue import claims
from haulier.queue.operations import operations
from haulier.queue.operations.operations import Order
from haulier.queue.schedules import schedules
from haulier.queue.search.job_filter import JobFilter
from lab.bench import beside_tabs
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.history import RARE, filled
from lab.bench.measures.enqueue import serving
from lab.bench.open_tabs import OPEN, seen
from lab.bench.results import Repetitions, Result, Row, Spread
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, at_most, figure_of
from lab.dashboard import HOME, SAME, Pages, crawl, pages_of, token_of, url_map, without_charts
from lab.servers import connect, tool
from lab.waiting import until

NAME = "dashboard"
TITLE = "The dashboard, beside 1 M live and 10 M finished jobs"

READS, POLLS, NEWS_ROUNDS = 40, 200, 30
# So often a page is asked for the news that there are.
POLL_SECONDS = 0.2
# Something new on each of the pages that tabs are left open on. While no worker beats, numbers of due jobs are unknown.
NEWS = """
    UPDATE haulier.worker SET beat_at = now();
    INSERT INTO haulier.job (kind, payload) VALUES ('kind-1', '{}');
    UPDATE haulier.depth SET jobs = jobs + 1
"""
# Pages that may be slower than the pages to which first links lead.
SLOWER = (
    *(f"{HOME}{page}?span={span}" for page in ("", "/failures") for span in ("24h", "7d")),
    *(f"{HOME}/jobs?{asked}" for asked in ("status=failed_permanent", "status=running", f"kind={RARE}", "kind=absent")),
)
_TIMING = re.compile(r"page;dur=([\d.]+)")


# A file, a redirect, and the pages of a key and of cells, of which there are none here.
NOT_LED_TO = {"ui.audit.as_csv", "ui.search.show", "ui.keys.one", "ui.cells.show"}


def entries() -> list[Entry]:
    """Return each page that the application has, polls, and drains, POSTs and INSERTs without and with tabs."""
    with url_map() as urls:
        rules = {rule.endpoint: rule.rule for rule in pages_of(urls) if rule.endpoint not in NOT_LED_TO}
    rows = [Entry(name, f"GET {rule}", partial(page, name), at_most=1) for name, rule in sorted(rules.items())]
    rows += [Entry(path, f"GET {path}", partial(slower_page, path), at_most=1) for path in SLOWER]
    rows += [
        Entry("poll-same", "poll without news", poll, at_most=1),
        Entry("poll-new", "poll with news", poll_with_news, at_most=1),
    ]
    rows += [
        Entry("drain", "drain, jobs", beside_tabs.drain),
        Entry("post", "POST /jobs, requests", beside_tabs.post),
        Entry("insert", "INSERT, jobs", beside_tabs.insert, None if tool("pgbench") else "pgbench is not installed"),
    ]
    return rows


class Visitor:
    """Whoever looks at a dashboard that needs no key."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.session = requests.Session()
        self.session.headers.update(SAME)
        self._csrf = token_of(self.session.get(f"{self.url}{HOME}").text)

    def get(self, path: str, **headers: str) -> tuple[requests.Response, float]:
        """Return the answer, and what the server took. Units: milliseconds. Raises: RuntimeError."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.session.get(f"{self.url}{path}", headers=sent)
        timing = _TIMING.search(answer.headers.get("Server-Timing", ""))
        if answer.status_code not in (200, 204) or timing is None:
            raise RuntimeError(f"{path}: {answer.status_code}")
        return answer, float(timing[1])

    def forget(self) -> None:
        """Empty the server's cache of pages, by an act: after an act pages are read anew."""
        sent = {"csrf": self._csrf, "theme": "auto", "next": HOME}
        answer = self.session.post(f"{self.url}{HOME}/settings/theme", sent, allow_redirects=False)
        if answer.status_code != 303:
            raise RuntimeError(f"cannot set the theme: {answer.status_code}")


@dataclass
class _Looked:
    """The pages of a database, once they were found."""

    pages: dict[str, Pages] = field(default_factory=dict)


_looked = _Looked()


@contextmanager
def visiting(bench: Bench) -> Iterator[tuple[Visitor, Pages]]:
    """Give a visitor of the dashboard of many jobs, and its pages; one process answers, and keeps what it read."""
    url = filled(bench)
    with serving(url, processes_=1) as port:
        visitor = Visitor(port)
        if url not in _looked.pages:
            _add_others(url)
            _looked.pages[url] = crawl(visitor.url, visitor.session, _jobs(url))
        yield visitor, _looked.pages[url]


def _jobs(url: str) -> list[str]:
    found: list[Any] = []
    with closing(own_connection(url)) as conn, conn.cursor() as cursor:
        for source in ("haulier.job", "haulier.finished_job WHERE status = 'failed_permanent'"):
            cursor.execute(f"SELECT id FROM {source} LIMIT 1")
            found += cursor.fetchall()
    return [f"{HOME}/jobs/{job}" for (job,) in found]


def _add_others(url: str) -> None:
    """Add what pages show beside jobs."""
    with closing(own_connection(url)) as conn:
        worker = claims.register(conn, host="dock", pid=1, threads=16, queues=(), lease_seconds=86_400)
        claims.introduce(conn, worker, kinds=["kind-1"])
        schedules.put_schedule(
            conn, "nightly", Rule({"kind": "kind-1", "payload": {}}, cron="0 3 * * *"), retention_days=30
        )
        wanted = Order(OperationAction.CANCEL, JobFilter(kinds=["absent"]), starts_in_seconds=86_400)
        operations.start(conn, wanted, as_of=None, actor=None)


def page(endpoint: str, bench: Bench) -> Figures:
    """Load a page several times, by the first links that lead there."""
    with visiting(bench) as (visitor, pages):
        paths = pages.paths.get(endpoint, [])
        if not paths:
            raise RuntimeError("no link leads there, and it takes arguments")
        return _loaded(visitor, paths, bench)


def slower_page(path: str, bench: Bench) -> Figures:
    """Load one page several times."""
    with visiting(bench) as (visitor, _):
        return _loaded(visitor, [path], bench)


def _loaded(visitor: Visitor, paths: Sequence[str], bench: Bench) -> Figures:
    """Load pages in turns, each time as the first who looks."""
    taken, byte_counts, plain = [], [], []
    for n in range(bench.turns(READS, least=5)):
        visitor.forget()
        answer, milliseconds = visitor.get(paths[n % len(paths)])
        taken.append(milliseconds)
        byte_counts.append(len(answer.content))
        plain.append(len(without_charts(answer.text).encode()))
    sizes = {"kilobytes": max(byte_counts), "plain_kilobytes": max(plain)}
    return {**_summary(taken), **{name: round(byte_count / 1000, 1) for name, byte_count in sizes.items()}}


def poll(bench: Bench) -> Figures:
    """Ask for news of pages that stay open, while there is nothing new."""
    taken = []
    with visiting(bench) as (visitor, _):
        for n in range(bench.turns(POLLS, least=5)):
            path = OPEN[n % len(OPEN)]
            answer, milliseconds = visitor.get(path, Haulier_Live=seen(visitor.get(path)[0].text))
            # The figures may have moved on between the two.
            if answer.status_code == 204:
                taken.append(milliseconds)
    return _summary(taken)


def poll_with_news(bench: Bench) -> Figures:
    """Ask for news of pages that stay open until they bring some, again and again."""
    taken = []
    with visiting(bench) as (visitor, _), closing(connect(filled(bench))) as conn, conn.cursor() as cursor:
        shown = {path: seen(visitor.get(path)[0].text) for path in OPEN}
        for _ in range(bench.turns(NEWS_ROUNDS, least=2)):
            cursor.execute(NEWS)
            for path in OPEN:
                answer, milliseconds = until(
                    partial(_news, visitor, path, shown[path]),
                    within=30, every=POLL_SECONDS, what="the poll brings news",
                )  # fmt: skip
                shown[path] = seen(answer.text)
                taken.append(milliseconds)
    return _summary(taken)


def _news(visitor: Visitor, path: str, shown: str) -> tuple[requests.Response, float] | None:
    answer, milliseconds = visitor.get(path, Haulier_Live=shown)
    return None if answer.status_code == 204 else (answer, milliseconds)


def _summary(taken: list[float]) -> Figures:
    taken.sort()
    return {"p50_ms": round(taken[len(taken) // 2], 2), "p95_ms": round(taken[int(len(taken) * 0.95)], 2)}


def pages(repetitions: Repetitions, *, slower: bool = False) -> list[str]:
    """Return the rows of the pages to which first links lead, and of the slower ones if asked."""
    return [row for row in repetitions.taken if row.startswith("ui.") or (slower and row in SLOWER)]


def without_figures(repetitions: Repetitions) -> Spread | None:
    """Return how many pages have no figures; otherwise a page that failed would count as quick."""
    rows = pages(repetitions, slower=True)
    return Spread.of([sum(not repetitions.taken[row] for row in rows)]) if rows else None


# How many of the slowest pages the docs show. The targets are about all of them.
SLOWEST = 3


def slowest(result: Result) -> list[Row]:
    """Return the slowest pages, those that failed, and the polls."""
    loads = [row for row in result.rows if "kilobytes" in row.figures]
    loads.sort(key=lambda row: row.figures["p95_ms"].median, reverse=True)
    polls = [row for row in result.rows if row.name.startswith("poll-") or not row.figures]
    return [*loads[:SLOWEST], *polls]


TABLES = [
    PageTable(
        figure("p50 ms", "p50_ms", 1),
        figure("p95 ms", "p95_ms", 1),
        rows=slowest,
    ),
    PageTable(
        figure("per second with 20 tabs", "per_second"),
        figure("without", "per_second_alone"),
        rows=lambda result: [row for row in result.rows if "per_second" in row.figures],
    ),
]
TARGETS = [
    at_most("pages without figures", without_figures, 0),
    at_most("p50 ms of the slowest page without a filter", lambda it: it.greatest(pages(it), "p50_ms"), 30),
    at_most("p95 ms of the slowest page", lambda it: it.greatest(pages(it, slower=True), "p95_ms"), 150),
    at_most(
        "kB of the largest page without charts", lambda it: it.greatest(pages(it, slower=True), "plain_kilobytes"), 60
    ),
    at_most("p95 ms of a poll with nothing new", figure_of("poll-same", "p95_ms"), 5),
    at_most("p95 ms of a poll with news", figure_of("poll-new", "p95_ms"), 40),
    at_least("drain with 20 tabs / without", figure_of("drain", "of_alone"), 0.95),
    at_least("POSTs with 20 tabs / without", figure_of("post", "of_alone"), 0.95),
]
