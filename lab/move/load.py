"""Clients that post jobs at a steady rate and repeat what was not answered, as clients with idempotency keys do."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from uuid import uuid4

from lab.waiting import pause

RETRY_SECONDS = 0.1
CLIENTS = 16


class Load:
    """Posts this many jobs a second until it is left. `acknowledged` has each id and when it was answered."""

    def __init__(self, port: int, per_second: float) -> None:
        self._port, self._per_second = port, per_second
        self.acknowledged: dict[str, float] = {}
        self.refused = 0
        self._number = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._post, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def longest_gap(self) -> float:
        """Return the longest time between two answered posts. Units: seconds."""
        times = sorted(self.acknowledged.values())
        return max((later - earlier for earlier, later in zip(times, times[1:], strict=False)), default=0.0)

    def _post(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                due = self._began + self._number / self._per_second
                self._number += 1
            pause(max(0.0, due - time.monotonic()))
            key = str(uuid4())
            # Until it is answered, also after the end: what was sent must be known.
            while (job := self._try(key)) is None:
                self.refused += 1
                pause(RETRY_SECONDS)
            self.acknowledged[job] = time.monotonic()

    def _try(self, key: str) -> str | None:
        body = json.dumps({"kind": "noted", "payload": {}})
        answers = closing(HTTPConnection("127.0.0.1", self._port, timeout=15))
        with suppress(OSError, HTTPException, ValueError, KeyError), answers as conn:
            conn.request("POST", "/jobs", body, {"Content-Type": "application/json", "Idempotency-Key": key})
            answer = conn.getresponse()
            said = answer.read()
            if answer.status in (200, 201):
                return str(json.loads(said)["id"])
        return None
