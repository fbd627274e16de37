"""A minute of load for `make demo`, as a small shop has it: mails, webhooks and pictures, some of which fail."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import requests

from haulier.local.supervisor import local_session

SECONDS = 60.0
EVERY_SECONDS, AT_ONCE = 0.25, 4
# For a while most webhooks have an address that nobody may call, as after a deployment with a wrong setting.
BAD_FROM, BAD_TO, BAD_SHARE = 15.0, 30.0, 0.6
BAD_URL = "http://127.0.0.1:9/hooks"
QUEUES = {"send_email": "mail", "webhook_delivery": "hooks", "resize_image": "images", "summarize_text": "default"}
# Of a hundred jobs.
SHARES = {"send_email": 45, "webhook_delivery": 30, "summarize_text": 20, "resize_image": 5}

Job = dict[str, Any]


class Load:
    """Enqueues jobs over HTTP, a few at once, until its time is up; payloads are one that works for each kind."""

    def __init__(self, url: str, payloads: Mapping[str, Job], seconds: float = SECONDS) -> None:
        self._url, self._payloads = f"{url}/jobs/batch", payloads
        self._began_at = self._next_at = time.monotonic()
        self._seconds, self._enqueued = seconds, 0
        self._session = local_session()
        self._draw = random.Random(17)

    def tick(self) -> None:
        """Enqueue what is due by now, if anything."""
        now = time.monotonic()
        age = now - self._began_at
        if now < self._next_at or age > self._seconds:
            return
        self._next_at = now + EVERY_SECONDS
        # The API may be on its way up again: what is not taken is left out.
        with suppress(requests.RequestException):
            self._session.post(self._url, json=[self._job(age) for _ in range(AT_ONCE)], timeout=5)

    def _job(self, age: float) -> Job:
        self._enqueued += 1
        [kind] = self._draw.choices(list(SHARES), list(SHARES.values()))
        payload = dict(self._payloads[kind])
        if kind == "webhook_delivery":
            is_bad = BAD_FROM <= age < BAD_TO and self._draw.random() < BAD_SHARE
            payload |= {"body": {"order": self._enqueued}, "event": "order.paid"} | ({"url": BAD_URL} if is_bad else {})
        if kind == "resize_image" and self._draw.random() < 0.3:
            payload["source"] = f"file:missing-{self._enqueued}.jpg"
        later = {"delay_seconds": 600} if self._enqueued % 25 == 0 else {}
        return {"kind": kind, "payload": payload, "queue": QUEUES[kind], "tags": ["demo"], **later}
