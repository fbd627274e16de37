"""`python -m lab.router`: what the router of `haulier cells nginx` costs, and whether it ever takes a wrong cell.

Three cells, each an API of its own with a database of its own, and nginx in front of them, all on this machine.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

from haulier.cells.nginx import configuration
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from lab.cells import LiveCell, file_of, make_cell
from lab.descendants import descendants
from lab.nginx import Nginx, nginx
from lab.servers import Postgres, free_port, postgres
from lab.waiting import pause, processes, until

NUMBERS = (1, 2, 3)
JOB = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}}
# The least that nginx can do with a call: pass it on to one server, on connections that stay open.
BARE = """
log_format haulier '$remote_addr $request_method $uri $status $upstream_addr $request_time $request_id';
upstream api {{ server {address}; keepalive 32; }}
server {{
    include haulier.d/*.conf;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / {{ proxy_pass http://api; }}
}}
"""
# Of one repetition, directly and by way of the router: calls, and connections that stay open.
PAIR_CALLS, CONNECTIONS = 2000, 4
# The callers of the living cells, and of the one that dies: threads of each, and the pause between their calls.
CALLERS, DEAD_CALLERS, PAUSE_SECONDS, DEAD_SECONDS = 2, 2, 0.01, 8.0


class Line:
    """A connection that stays open."""

    def __init__(self, address: str) -> None:
        self._conn = http.client.HTTPConnection(address, timeout=30)

    def call(
        self, method: str, path: str, headers: dict[str, str], body: object = None
    ) -> tuple[int, bytes, str, float]:
        """Return status, body, the server that has answered, and the milliseconds."""
        data = None if body is None else json.dumps(body).encode()
        began = time.perf_counter()
        self._conn.request(method, path, data, {"Content-Type": "application/json", **headers} if data else headers)
        response = self._conn.getresponse()
        answer = response.read()
        return response.status, answer, response.headers.get("X-Server", ""), 1000 * (time.perf_counter() - began)

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()


@contextmanager
def live_cells(server: Postgres) -> Iterator[tuple[list[LiveCell], dict[int, int]]]:
    """Yield three cells, and the process of each one's API."""

    def prepare(url: str) -> None:
        with closing(connect(url)) as conn:
            migrate(conn, retention_days=30)

    with ExitStack() as stack:
        cells, pids = [], {}
        for number in NUMBERS:
            dsn = stack.enter_context(server.fresh("cell", prepare))
            key, token = make_cell(dsn, number)
            address = f"127.0.0.1:{free_port()}"
            env = {"DATABASE_URL": dsn, "API_BIND_ADDR": address, "LOG_LEVEL": "WARNING"}
            command = [sys.executable, "-m", "gunicorn", "app:create_app()"]
            [process] = stack.enter_context(processes([command], env))
            pids[number] = process.pid
            cells.append(LiveCell(number, dsn, address, key, token))
        for cell in cells:
            until(partial(answers, cell.address), within=30, what="an API answers")
        yield cells, pids


def answers(address: str) -> bool:
    """Return whether an API answers there."""
    with suppress(OSError, http.client.HTTPException), closing(Line(address)) as line:
        return line.call("GET", "/health", {})[0] == 200
    return False


# The right cell -------------------------------------------------------------------------------------------------


def mixed(rng: random.Random, cell: LiveCell, jobs: Sequence[str], turn: int) -> tuple[str, str, object]:
    """Return a call of one of the API's sorts: by an id of this cell in the path, or without one."""
    job, name = rng.choice(jobs), f"s{turn % 5}"
    calls: list[tuple[str, str, object]] = [
        ("POST", "/jobs", JOB),
        ("POST", "/jobs/batch", [JOB] * 3),
        ("GET", f"/jobs/{job}", None),
        ("GET", f"/jobs/{job}/explain", None),
        ("GET", f"/jobs/{job}/timeline", None),
        ("PATCH", f"/jobs/{job}", {"priority": turn % 100}),
        ("POST", f"/jobs/{job}/cancel", None),
        ("POST", f"/jobs/{job}/retry", None),
        ("POST", f"/jobs/{job}/copy", None),
        ("DELETE", f"/jobs/{job}", None),
        ("GET", "/jobs?limit=5", None),
        ("GET", "/jobs/count?kind=send_email", None),
        ("POST", "/operations", {"action": "cancel", "filter": {"queue": ["none"]}, "dry_run": True}),
        ("PUT", f"/schedules/{name}", {"job": JOB, "cron": "0 2 * * *"}),
        ("GET", f"/schedules/{name}", None),
        ("DELETE", f"/schedules/{name}", None),
        ("GET", "/queues", None),
        ("GET", "/stats", None),
        ("GET", "/errors", None),
        ("GET", "/workers", None),
        ("GET", "/kinds", None),
        ("GET", "/keys", None),
        ("GET", "/nowhere", None),
    ]
    return calls[turn % len(calls)]


def right_cells(router: Nginx, cells: Sequence[LiveCell], calls: int) -> None:
    """Make calls of all sorts, in turn to each cell, and print how many another cell has answered."""
    rng, statuses, wrong = random.Random(1), Counter[int](), 0
    jobs: dict[int, list[str]] = {}
    with closing(Line(router.address)) as line:
        for cell in cells:
            answer = line.call("POST", "/jobs/batch", cell.headers, [JOB] * 50)[1]
            jobs[cell.number] = [each["id"] for each in json.loads(answer)["jobs"]]
        for turn in range(calls):
            cell = cells[turn % len(cells)]
            method, path, body = mixed(rng, cell, jobs[cell.number], turn // len(cells))
            status, answer, server, _ = line.call(method, path, cell.headers, body)
            statuses[status] += 1
            wrong += server != cell.address
            if (method, path, status) == ("POST", "/jobs", 201):
                jobs[cell.number][rng.randrange(50)] = json.loads(answer)["id"]
    print(f"right cell: {calls:,} calls to {len(cells)} cells, {wrong} answered by another cell")
    print(f"            statuses: {dict(sorted(statuses.items()))}")


# What it costs --------------------------------------------------------------------------------------------------


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time that the threads of these processes have used."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def post_and_get(address: str, cells: Sequence[LiveCell], calls: int) -> list[float]:
    """Return the milliseconds of each call: POSTs, and a GET of every tenth job that they made."""
    times: list[float] = []

    def work(place: int) -> None:
        with closing(Line(address)) as line:
            for turn in range(calls // CONNECTIONS):
                cell = cells[(turn + place) % len(cells)]
                status, answer, _, took = line.call("POST", "/jobs", cell.headers, JOB)
                assert status == 201, answer
                times.append(took)
                if turn % 10 == 0:
                    status, answer, _, took = line.call("GET", f"/jobs/{json.loads(answer)['id']}", cell.headers)
                    assert status == 200, answer
                    times.append(took)

    _all([partial(work, place) for place in range(CONNECTIONS)])
    return times


def _all(works: Sequence[Callable[[], None]]) -> None:
    """Do these at the same time. Raises: what one of them raises, so that no figure lacks its calls."""
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


def lone_calls(address: str, cell: LiveCell, calls: int) -> list[float]:
    """Return the milliseconds of POSTs, one after the other on one connection."""
    with closing(Line(address)) as line:
        return [line.call("POST", "/jobs", cell.headers, JOB)[3] for _ in range(calls)]


def routed(router: Nginx, cell: LiveCell, apis: Sequence[int]) -> tuple[float, float]:
    """Return the median milliseconds of calls by way of this nginx, and its processor time in % of the API's."""
    before = cpu_seconds(apis), cpu_seconds(router.workers)
    took = median(post_and_get(router.address, [cell], PAIR_CALLS))
    api, own = cpu_seconds(apis) - before[0], cpu_seconds(router.workers) - before[1]
    return took, 100 * own / api


def costs(router: Nginx, bare: Nginx, cells: Sequence[LiveCell], pids: dict[int, int], repetitions: int) -> None:
    """Print what the router adds to a call, in time and in processor time: direct, routed and BARE in turn."""
    cell, lone = cells[0], list[float]()
    apis = [each for number in pids for each in (pids[number], *descendants(pids[number]))]
    more: dict[str, list[float]] = {"the router": [], "a bare nginx": []}
    shares: dict[str, list[float]] = {name: [] for name in more}
    for _ in range(repetitions):
        lone_direct, lone_routed = (median(lone_calls(at, cell, 300)) for at in (cell.address, router.address))
        lone.append(lone_routed - lone_direct)
        direct = median(post_and_get(cell.address, [cell], PAIR_CALLS))
        print(f"costs:      p50 one at a time {lone_direct:.2f} -> {lone_routed:.2f} ms")
        for name, through in zip(more, (router, bare), strict=True):
            took, share = routed(through, cell, apis)
            more[name].append(took - direct)
            shares[name].append(share)
            print(
                f"costs:      p50 with {CONNECTIONS} connections {direct:.2f} -> {took:.2f} ms, by way of {name}; its"
                f" processor time is {share:.1f} % of the API's"
            )
    print(f"costs:      medians of {repetitions}: p50 +{median(lone):.2f} ms one at a time")
    for name in more:
        print(
            f"costs:      medians of {repetitions}: p50 +{median(more[name]):.2f} ms with {CONNECTIONS} connections,"
            f" processor time {median(shares[name]):.1f} % of the API's, by way of {name}"
        )


# A dead cell ----------------------------------------------------------------------------------------------------


@dataclass
class Load:
    """Callers of the living cells and of another one, at a steady rate. `times` are milliseconds, by status."""

    router: Nginx
    living: Sequence[LiveCell]
    other: LiveCell
    over: threading.Event = field(default_factory=threading.Event)
    times: list[float] = field(default_factory=list)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    def run(self) -> float:
        """Return the 99th percentile of the calls to the living cells, in ms."""
        works = [partial(self._work, cell, "living") for cell in self.living for _ in range(CALLERS)]
        works += [partial(self._work, self.other, "other")] * DEAD_CALLERS
        timer = threading.Timer(DEAD_SECONDS, self.over.set)
        timer.start()
        _all(works)
        self.times.sort()
        return self.times[len(self.times) * 99 // 100]

    def _work(self, cell: LiveCell, name: str) -> None:
        with closing(Line(self.router.address)) as line:
            while not self.over.is_set():
                status, _, _, took = line.call("POST", "/jobs", cell.headers, JOB)
                self.statuses[name, status] += 1
                if name == "living":
                    self.times.append(took)
                pause(PAUSE_SECONDS)


@contextmanager
def black_hole() -> Iterator[str]:
    """Yield an address that does not even refuse a connection, as that of a machine without power."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener, ExitStack() as stack:
        for _ in range(2):
            conn = stack.enter_context(closing(socket.socket()))
            conn.setblocking(False)
            conn.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def _have_ended(old: set[int], router: Nginx) -> bool:
    return not old & set(router.workers)


def dead_cell(router: Nginx, cells: Sequence[LiveCell], repetitions: int) -> None:
    """Print the p99 of two cells while the third lives, refuses connections, or does not answer at all, in turn."""
    *living, third = cells
    with black_hole() as hole:
        ways = {
            "lives": third,
            "refuses": replace(third, address=f"127.0.0.1:{free_port()}"),
            "is silent": replace(third, address=hole),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repetitions):
            for way, other in ways.items():
                old = set(router.reload(configuration(file_of(*living, other))))
                until(partial(_have_ended, old, router), within=20, what="the old processes have ended")
                load = Load(router, living, other)
                taken[way].append(load.run())
                print(f"dead cell:  the third {way}: p99 {taken[way][-1]:.1f} ms, {dict(load.statuses)}")
    for way in itertools.islice(ways, 1, None):
        ratios = [dead / alive for dead, alive in zip(taken[way], taken["lives"], strict=True)]
        print(
            f"dead cell:  medians of {repetitions}: p99 {median(taken['lives']):.1f} ms while it lives,"
            f" {median(taken[way]):.1f} ms while it {way}: {median(ratios):.2f} x"
        )


def main() -> None:
    """Read the command line, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m lab.router", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="haulier-router-"))
        cells, pids = stack.enter_context(live_cells(server))
        texts = {"router": configuration(file_of(*cells)), "bare": BARE.format(address=cells[0].address)}
        router, bare = (
            stack.enter_context(nginx(Path(folder, name), text, f"127.0.0.1:{free_port()}"))
            for name, text in texts.items()
        )
        right_cells(router, cells, options.calls)
        costs(router, bare, cells, pids, options.repetitions)
        dead_cell(router, cells, options.repetitions)


if __name__ == "__main__":
    main()
