"""`python -m lab.bench.abuse PORT TOKEN SEED THREADS [MOVE …]`: what one caller with a valid key can do to everybody.

Without moves it makes those of a key that may enqueue: large, slow and invalid bodies. It is a process of its own, so
that its threads do not delay those that measure. It prints `ready`, begins after a line on its input, stops at the end
of the input, and prints the answers that it got.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from lab.waiting import ROOT

# The largest batch and the largest payload that the API accepts.
BATCH_BYTES, PAYLOAD_BYTES = 16 * 2**20, 256 * 2**10
SLOW_CONNECTIONS, SLOW_SECONDS = 30, 5.0
# How many bodies of each sort are made beforehand, and the bytes in them that a new number replaces in each request.
VARIANTS, NUMBER = 3, b"@@@@@@@@"


def main() -> None:
    """Abuse the API from the first line of the input until its end."""
    port, token, seed, threads, *moves = sys.argv[1:]
    abuser = Abuser(int(port), token, seed=int(seed), threads=int(threads), moves=moves)
    print("ready", flush=True)
    sys.stdin.readline()
    with abuser:
        sys.stdin.read()
    said = {f"{move} {status}": count for (move, status), count in sorted(abuser.answers.items(), key=str)}
    print(json.dumps(said), flush=True)


@contextmanager
def abused(port: int, token: str, *, seed: int, threads: int, moves: Sequence[str] = ()) -> Iterator[dict[str, int]]:
    """Abuse the API during the block, and afterwards fill in the answers. Shape: counts by move and status."""
    command = [sys.executable, "-m", "lab.bench.abuse", str(port), token, str(seed), str(threads), *moves]
    answers: dict[str, int] = {}
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        print("go", file=process.stdin, flush=True)
        try:
            yield answers
        finally:
            process.stdin.close()
            answers.update(json.loads(process.stdout.read()))


class Abuser:
    """Threads that abuse the API until they are told to stop. Shape: answers counts (move, status).

    The requests are made beforehand: a real abuser has a machine of its own, and would not compute on this one.
    """

    def __init__(self, port: int, token: str, *, seed: int, threads: int, moves: Sequence[str] = ()) -> None:
        self._port, self.token = port, token
        self._stopped = threading.Event()
        self._numbers = itertools.count()
        drawn = random.Random(seed)
        made = [make for make in BODIES if not moves or make.__name__ in moves]
        self._bodies = {make.__name__: [make(drawn) for _ in range(VARIANTS)] for make in made}
        self._moves = moves or [*self._bodies, "slow_bodies"]
        self._form = signed_out(port) if "sign_ins" in self._moves else Form("", "")
        self.answers: Counter[tuple[str, int | str]] = Counter()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(f"{seed} {n}"),), daemon=True)
            for n in range(threads)
        ]

    def __enter__(self) -> Abuser:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, drawn: random.Random) -> None:
        while not self._stopped.is_set():
            move = drawn.choice(self._moves)
            try:
                if move == "slow_bodies":
                    self._trickle()
                elif move == "sign_ins":
                    self._sign_in()
                elif move in CALLS:
                    self._send(move, *CALLS[move], {"Content-Type": "application/json"})
                else:
                    self._post(move, drawn.choice(self._bodies[move]))
            except (OSError, http.client.HTTPException) as error:
                self.answers[move, type(error).__name__] += 1

    def _post(self, move: str, request: tuple[str, bytes]) -> None:
        """Send one of the bodies that were made beforehand."""
        path, body = request
        kind = "application/x-ndjson" if path.startswith("/jobs/batch") else "application/json"
        self._send(move, "POST", path, body.replace(NUMBER, b"%08x" % next(self._numbers)), {"Content-Type": kind})

    def _sign_in(self) -> None:
        """Try an API key that is none at the dashboard's door."""
        fields = {"key": f"hlr_{next(self._numbers):012d}_{'x' * 43}", "csrf": self._form.csrf}
        headers = {"Cookie": self._form.cookie, "Origin": f"http://127.0.0.1:{self._port}"}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._send("sign_ins", "POST", "/ui/sign-in", urlencode(fields).encode(), headers)

    def _send(self, move: str, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send one request, read the answer, and count it."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as conn:
            conn.request(method, path, body, {"Authorization": f"Bearer {self.token}", **headers})
            answer = conn.getresponse()
            answer.read()
            self.answers[move, answer.status] += 1

    def _trickle(self) -> None:
        """Begin many requests, and send a byte of each now and then."""
        head = f"POST /jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 900000\r\n\r\n"
        sockets = []
        with suppress(OSError):
            for _ in range(SLOW_CONNECTIONS):
                sockets.append(socket.create_connection(("127.0.0.1", self._port), timeout=30))
                sockets[-1].sendall(head.encode())
        until = time.monotonic() + SLOW_SECONDS
        while time.monotonic() < until and not self._stopped.wait(0.5):
            for each in sockets:
                with suppress(OSError):
                    each.sendall(b" ")
        for each in sockets:
            each.close()
        self.answers["slow_bodies", "closed"] += len(sockets)


@dataclass(frozen=True)
class Form:
    """What a browser without a session sends with a form."""

    cookie: str
    csrf: str


def signed_out(port: int) -> Form:
    """Return what the page to sign in gives a browser."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as conn:
        conn.request("GET", "/ui/sign-in")
        answer = conn.getresponse()
        found = re.search(rb'name="csrf" value="([0-9a-f]+)"', answer.read())
        assert found
        return Form((answer.getheader("Set-Cookie") or "").partition(";")[0], found[1].decode())


def queues(drawn: random.Random) -> tuple[str, bytes]:
    """Enqueue jobs that are not due, each in a queue of its own."""
    later = {"kind": "noop", "payload": {"n": 0}, "delay_seconds": 86_400, "priority": drawn.randint(-100, 100)}
    return "/jobs/batch", lines([{**later, "queue": f"q{NUMBER.decode()}-{n}"} for n in range(10_000)])


def nesting(drawn: random.Random) -> tuple[str, bytes]:
    """Enqueue a payload that is small as text and large as objects."""
    piece = drawn.choice(["[]", "{}", "[[]]", "0", '""', '{"a":0}', "null"])
    data = ",".join([piece] * ((PAYLOAD_BYTES - 100) // (len(piece) + 1)))
    return "/jobs", f'{{"kind": "noop", "payload": {{"n": 0, "data": [{data}]}}}}'.encode()


def nested_batch(drawn: random.Random) -> tuple[str, bytes]:
    """Enqueue 16 MB of such payloads."""
    data = ",".join([drawn.choice(["[]", "{}"])] * (PAYLOAD_BYTES // 3 - 100))
    line = f'{{"kind": "heavy", "payload": {{"n": 0, "data": [{data}]}}}}'
    return "/jobs/batch", "\n".join([line] * (BATCH_BYTES // (len(line) + 1))).encode()


def faults(drawn: random.Random) -> tuple[str, bytes]:
    """Send 16 MB of jobs that are all wrong, with atomic=false, so that each gets an answer."""
    words = ["kind", "queue", "priority", "run_at", "max_attempts", "timeout_seconds", "payload", *"abcdefgh"]
    wrong = json.dumps({word: drawn.choice([[], {}, -1e300, "\u0000", None, "x" * 50]) for word in words})
    body = "\n".join([wrong] * min(10_000, BATCH_BYTES // (len(wrong) + 1)))
    return "/jobs/batch?atomic=false", body.encode()


def images(drawn: random.Random) -> tuple[str, bytes]:
    """Enqueue an image that is small as a file and large, or slow, as a picture."""
    width, height = drawn.choice([(1, 11_990_000), (3_400, 3_500), (1, 60_000), (7_000, 7_000)])
    source = "data:image/png;base64," + base64.b64encode(png(width, height)).decode()
    job = {"kind": "resize_image", "payload": {"source": source, "width": 100}, "timeout_seconds": 1}
    return "/jobs", json.dumps(job).encode()


def keys(_drawn: random.Random) -> tuple[str, bytes]:
    """Enqueue jobs that each have an idempotency key of the greatest length."""
    job = {"kind": "noop", "payload": {"n": 0}}
    return "/jobs/batch", lines(
        [{**job, "idempotency_key": f"{NUMBER.decode()}-{n}".ljust(255, "x")} for n in range(5_000)]
    )


DRY_RUN = {"action": "cancel", "filter": {"all": True}, "dry_run": True}
# Calls that are the same each time: method, path, body. The first is cheap, to compare the others with.
CALLS = {
    "gets": ("GET", "/kinds", b""),
    "dry_runs": ("POST", "/operations", json.dumps(DRY_RUN).encode()),
    "searches": ("GET", "/errors?text=nowhere+to+be+found", b""),
    "scrapes": ("GET", "/metrics", b""),
}

BODIES: list[Callable[[random.Random], tuple[str, bytes]]] = [queues, nesting, nested_batch, faults, images, keys]


def lines(jobs: list[dict[str, Any]]) -> bytes:
    """Return the jobs as a batch."""
    return "\n".join(json.dumps(job) for job in jobs).encode()


def png(width: int, height: int) -> bytes:
    """Return a PNG of one shade of grey, whose file is a thousandth of its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + width)
    packed = b"".join(packer.compress(row * 1000) for _ in range(height // 1000))
    packed += packer.compress(row * (height % 1000)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


if __name__ == "__main__":
    main()
