"""`python -m lab.bench.abuse PORT TOKEN SEED THREADS MOVE …`: a caller that sends the next call as soon as it can.

It is a process of its own, so that its threads do not delay those that measure. It prints `ready`, begins after a line
on its input, stops at the end of the input, and prints the answers that it got.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

from lab.waiting import ROOT

DRY_RUN = {"action": "cancel", "filter": {"all": True}, "dry_run": True}
# Calls that are the same each time: method, path, body. The first is cheap, to compare the others with.
CALLS = {
    "gets": ("GET", "/kinds", b""),
    "dry_runs": ("POST", "/operations", json.dumps(DRY_RUN).encode()),
    "searches": ("GET", "/errors?text=nowhere+to+be+found", b""),
    "scrapes": ("GET", "/metrics", b""),
}


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
def abused(port: int, token: str, *, seed: int, threads: int, moves: Sequence[str]) -> Iterator[dict[str, int]]:
    """Abuse the API during the block, and afterwards fill in the answers. `counts` by move and status."""
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
    """Threads that abuse the API until the block is left. `answers` counts (move, status)."""

    def __init__(self, port: int, token: str, *, seed: int, threads: int, moves: Sequence[str]) -> None:
        self._port, self.token, self._moves = port, token, moves
        self._stopped = threading.Event()
        self._numbers = itertools.count()
        self._form = signed_out(port) if "sign_ins" in moves else Form("", "")
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
                if move == "sign_ins":
                    self._sign_in()
                else:
                    self._send(move, *CALLS[move], {"Content-Type": "application/json"})
            except (OSError, http.client.HTTPException) as error:
                self.answers[move, type(error).__name__] += 1

    def _sign_in(self) -> None:
        """Try to sign in to the dashboard with an API key that does not exist."""
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


if __name__ == "__main__":
    main()
