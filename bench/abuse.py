"""What one caller with a valid enqueue key can do to everybody: the moves that `worst_caller` draws from, by a seed."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import random
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress

# Of a batch and of a payload, as the API takes them.
BATCH_BYTES, PAYLOAD_BYTES = 16 * 2**20, 256 * 2**10
SLOW_CONNECTIONS, SLOW_SECONDS = 30, 5.0


class Abuser:
    """Some threads that do their worst until they are told to stop. Shape: answers counts (move, status)."""

    def __init__(self, port: int, token: str, *, seed: int, threads: int) -> None:
        self._port, self.token = port, token
        self._stopped = threading.Event()
        self._names = itertools.count()
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
            move = drawn.choice(MOVES)
            try:
                move(self, drawn)
            except (OSError, http.client.HTTPException) as error:
                self.answers[move.__name__, type(error).__name__] += 1

    def post(self, move: str, path: str, body: str | bytes, **headers: str) -> None:
        """Send one request, read the answer, and count it."""
        kind = "application/x-ndjson" if path.startswith("/jobs/batch") else "application/json"
        told = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, **headers}
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as conn:
            conn.request("POST", path, body, told)
            answer = conn.getresponse()
            answer.read()
            self.answers[move, answer.status] += 1

    def names(self, prefix: str, count: int) -> list[str]:
        """Return names that nobody has used."""
        return [f"{prefix}{n}" for n in itertools.islice(self._names, count)]

    def connect(self) -> socket.socket:
        """Return a connection that says nothing yet."""
        return socket.create_connection(("127.0.0.1", self._port), timeout=30)

    def is_over(self) -> bool:
        """Tell whether it has been told to stop."""
        return self._stopped.is_set()

    def linger(self, seconds: float) -> None:
        """Let that much time pass, or less when it is over."""
        self._stopped.wait(seconds)


def queues(abuser: Abuser, drawn: random.Random) -> None:
    """Enqueue jobs that are not due, each in a queue of its own."""
    later = {"kind": "noop", "payload": {"n": 0}, "delay_seconds": 86_400, "priority": drawn.randint(-100, 100)}
    lines = [json.dumps({**later, "queue": name}) for name in abuser.names("q", 10_000)]
    abuser.post("queues", "/jobs/batch", "\n".join(lines))


def nesting(abuser: Abuser, drawn: random.Random) -> None:
    """Enqueue a payload that is small as text and large as objects."""
    piece = drawn.choice(["[]", "{}", "[[]]", "0", '""', '{"a":0}', "null"])
    data = ",".join([piece] * ((PAYLOAD_BYTES - 100) // (len(piece) + 1)))
    abuser.post("nesting", "/jobs", f'{{"kind": "noop", "payload": {{"n": 0, "data": [{data}]}}}}')


def nested_batch(abuser: Abuser, drawn: random.Random) -> None:
    """Enqueue 16 MB of such payloads."""
    data = ",".join([drawn.choice(["[]", "{}"])] * (PAYLOAD_BYTES // 3 - 100))
    line = f'{{"kind": "heavy", "payload": {{"n": 0, "data": [{data}]}}}}'
    abuser.post("nested_batch", "/jobs/batch", "\n".join([line] * (BATCH_BYTES // (len(line) + 1))))


def faults(abuser: Abuser, drawn: random.Random) -> None:
    """Send 16 MB in which all is wrong, and ask for what is good of it."""
    words = ["kind", "queue", "priority", "run_at", "max_attempts", "timeout_seconds", "payload", *"abcdefgh"]
    wrong = json.dumps({word: drawn.choice([[], {}, -1e300, "\u0000", None, "x" * 50]) for word in words})
    abuser.post("faults", "/jobs/batch?atomic=false", "\n".join([wrong] * min(10_000, BATCH_BYTES // (len(wrong) + 1))))


def images(abuser: Abuser, drawn: random.Random) -> None:
    """Enqueue images that are small as files and large, or slow, as pictures."""
    width, height = drawn.choice([(1, 11_990_000), (3_400, 3_500), (1, 60_000), (7_000, 7_000)])
    source = "data:image/png;base64," + base64.b64encode(png(width, height)).decode()
    job = {"kind": "resize_image", "payload": {"source": source, "width": 100}, "timeout_seconds": 1}
    abuser.post("images", "/jobs", json.dumps(job))


def keys(abuser: Abuser, drawn: random.Random) -> None:
    """Enqueue jobs with an idempotency key each, the longest that there is."""
    lines = [
        json.dumps({"kind": "noop", "payload": {"n": 0}, "idempotency_key": name.ljust(255, "x")})
        for name in abuser.names("k", 5_000)
    ]
    abuser.post("keys", "/jobs/batch", "\n".join(lines))


def slow_bodies(abuser: Abuser, drawn: random.Random) -> None:
    """Begin many requests, and send a byte of each now and then."""
    head = f"POST /jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {abuser.token}\r\n"
    sockets = []
    with suppress(OSError):
        for _ in range(SLOW_CONNECTIONS):
            sockets.append(abuser.connect())
            sockets[-1].sendall(f"{head}Content-Type: application/json\r\nContent-Length: 900000\r\n\r\n".encode())
    until = time.monotonic() + SLOW_SECONDS
    while time.monotonic() < until and not abuser.is_over():
        abuser.linger(0.5)
        for each in sockets:
            with suppress(OSError):
                each.sendall(b" ")
    for each in sockets:
        each.close()
    abuser.answers["slow_bodies", "closed"] += len(sockets)


MOVES: list[Callable[[Abuser, random.Random], None]] = [
    queues, nesting, nested_batch, faults, images, keys, slow_bodies,
]  # fmt: skip


def png(width: int, height: int) -> bytes:
    """Return a picture of one grey, whose file is a thousandth of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + width)
    packed = b"".join(packer.compress(row * 1000) for _ in range(height // 1000))
    packed += packer.compress(row * (height % 1000)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
