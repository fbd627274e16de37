"""`make demo`: one real job of each kind, from an HTTP call to its result, in a database that is dropped afterwards."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import requests

from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.local.embedded import Server, home
from haulier.local.receivers import Receivers, SmtpSink, WebhookReceiver
from haulier.local.run import new_secret, only_one
from haulier.local.supervisor import CHECKOUT, Signals, Supervisor, local_session, next_free_port, say
from haulier.local.var_folder import make_var
from haulier.postgres.scratch import scratch_database

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


COLOURS = {"succeeded": 32, "failed_permanent": 31, "cancelled": 31}
YELLOW = 33


class Table:
    """A line for each job: rewritten in place on a terminal, or else printed again when it changes."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._shown: list[str] = []

    def show(self, jobs: list[dict[str, Any]]) -> None:
        lines = [self._line(job) for job in jobs]
        if self._live and self._shown:
            print(f"\x1b[{len(self._shown)}F", end="")
        for number, line in enumerate(lines):
            if self._live:
                print(f"{line}\x1b[K")
            elif line not in self._shown[number : number + 1]:
                print(line)
        sys.stdout.flush()
        self._shown = lines

    def _line(self, job: dict[str, Any]) -> str:
        status = f"{job['status']:<16}"
        if self._live:
            status = f"\x1b[{COLOURS.get(job['status'], YELLOW)}m{status}\x1b[0m"
        return f"  {job['kind']:<16}  {status}  attempt {job['attempts']} of {job['max_attempts']}"


ASSETS = Path(__file__).with_name("assets")
WORK = CHECKOUT / "var" / "demo"
DATABASE = "haulier_demo"
HOST = "127.0.0.1"
JOBS_SECONDS = 60.0
# Settings that the environment may have, and that would change what the demo shows.
OTHER_PURPOSES = (
    "AUTH",
    "HAULIER_API_KEY",
    "METRICS_TOKEN",
    "EXECUTOR",
    "HAULIER_KINDS",
    "HAULIER_MIDDLEWARE",
    "WORKER_QUEUES",
    "DASHBOARD",
    "DYNO",
    "RENDER",
)
FINAL = ("succeeded", "failed_permanent", "cancelled")


class DemoFailed(HaulierError):
    """The API did not take a job of the demo."""


def demo(*, once: bool) -> int:
    """Show the four kinds at work and return the exit code; unless once, stay up until stopped."""
    signals = Signals()
    with ExitStack() as stack:
        stack.enter_context(only_one("make demo"))
        make_var(CHECKOUT)
        for folder in ("storage", "mail", "logs"):
            shutil.rmtree(WORK / folder, ignore_errors=True)
            (WORK / folder).mkdir(parents=True)
        receivers = Receivers(SmtpSink(WORK / "mail"), WebhookReceiver(new_secret()))
        stack.enter_context(receivers)
        postgres, server_url = None, os.environ.get("DATABASE_URL")
        if not server_url:
            server = stack.enter_context(Server(home(CHECKOUT) / "demo-pg"))
            postgres, server_url = server.postgres, server.dsn
        database_url = stack.enter_context(scratch_database(server_url, DATABASE))
        environ = _environ(database_url, receivers)
        supervisor = stack.enter_context(Supervisor(environ, signals, postgres=postgres, logs=WORK / "logs"))

        say(f"dashboard at {supervisor.url}/ui; logs in {WORK / 'logs'}")
        jobs, payloads = _Jobs(supervisor.url), _payloads(receivers)
        jobs.enqueue(payloads)
        jobs.watch(supervisor, signals)
        if not signals.stop:
            _show_results(jobs, receivers)
            _show_addresses(supervisor)
        if not signals.stop and not once:
            _stay(supervisor, signals, Load(supervisor.url, payloads))
        say("stopping")
    return 0 if jobs.have_succeeded else 1


def _stay(supervisor: Supervisor, signals: Signals, load: Load) -> None:
    """Stay up, with something to look at for a minute."""
    say(f"look at the dashboard for the next minute: {supervisor.url}/ui")
    say("Ctrl-C stops everything")
    while not signals.stop:
        load.tick()
        supervisor.tick()


def _environ(database_url: str, receivers: Receivers) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in OTHER_PURPOSES}
    return kept | {
        "DATABASE_URL": database_url,
        "API_BIND_ADDR": f"{HOST}:{_free_port()}",
        "WORKER_METRICS_PORT": str(next_free_port(HOST, 9091)),
        "SMTP_URL": f"smtp://{HOST}:{receivers.smtp.port}",
        "MAIL_FROM": "Haulier <haulier@localhost>",
        "STORAGE_URL": (WORK / "storage").as_uri(),
        "WEBHOOK_SECRET": receivers.webhooks.secret,
        "OUTBOUND_ALLOW_PRIVATE": f"{HOST}:{receivers.webhooks.port}",
    }


def _free_port() -> int:
    wanted = Config.from_env({"DATABASE_URL": "postgres://", "PORT": os.environ.get("PORT", "")}).port
    port = next_free_port(HOST, wanted)
    if port != wanted:
        say(f"port {wanted} is in use: using {port} instead")
    return port


def _payloads(receivers: Receivers) -> dict[str, Job]:
    shutil.copy(ASSETS / "harbour.jpg", WORK / "storage")
    return {
        "resize_image": {"source": "file:harbour.jpg", "width": 640, "height": 480, "format": "webp"},
        "summarize_text": {"text": (ASSETS / "containers.txt").read_text(encoding="utf-8"), "sentences": 3},
        "send_email": {"to": "ann@example.com", "subject": "Your picture is ready", "body": "Hello Ann,\n\nit is.\n"},
        "webhook_delivery": {
            "url": f"http://{HOST}:{receivers.webhooks.port}/hooks",
            "event": "picture.ready",
            "body": {"picture": "harbour.jpg", "for": "ann@example.com"},
        },
    }


class _Jobs:
    """The demo's jobs, as the API shows them."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/jobs"
        self._session = local_session()
        self._table = Table()
        self.jobs: list[Job] = []

    def enqueue(self, payloads: Mapping[str, Job]) -> None:
        for kind, payload in payloads.items():
            self.jobs.append(self._post({"kind": kind, "payload": payload, "idempotency_key": str(uuid4())}))

    def _post(self, job: Job) -> Job:
        """Return the job once it is committed; its idempotency key lets the call be repeated until it is answered."""
        deadline = time.monotonic() + JOBS_SECONDS
        while True:
            try:
                answer = self._session.post(self.url, json=job, timeout=10)
            except requests.RequestException as error:
                problem = str(error)
            else:
                if answer.status_code in (200, 201):
                    stored: Job = answer.json()
                    return stored
                problem = f"{answer.status_code} {answer.text.strip()}"
                if answer.status_code != 503:
                    deadline = time.monotonic()
            if time.monotonic() >= deadline:
                raise DemoFailed(f"POST /jobs refused {job['kind']}: {problem}")

    def watch(self, supervisor: Supervisor, signals: Signals) -> None:
        """Return when every job has ended, the time is up, or the terminal has asked to stop."""
        deadline = time.monotonic() + JOBS_SECONDS
        self._table.show(self.jobs)
        while not self.have_ended and not signals.stop and time.monotonic() < deadline:
            supervisor.tick()
            with suppress(requests.RequestException):  # the API is being started again
                self.jobs = [self._get(job) for job in self.jobs]
            self._table.show(self.jobs)

    def _get(self, job: Job) -> Job:
        answer = self._session.get(f"{self.url}/{job['id']}", timeout=10)
        answer.raise_for_status()
        found: Job = answer.json()
        return found

    @property
    def have_ended(self) -> bool:
        return all(job["status"] in FINAL for job in self.jobs)

    @property
    def have_succeeded(self) -> bool:
        return all(job["status"] == "succeeded" for job in self.jobs)


def _show_results(jobs: _Jobs, receivers: Receivers) -> None:
    for job in jobs.jobs:
        print(f"\n{job['kind']}: {job['status']}\n  {jobs.url}/{job['id']}")
        if job["status"] == "succeeded":
            _show_result(job, receivers)
        else:
            print(f"  {job['last_error'] or 'it has not ended'}")


def _show_result(job: Job, receivers: Receivers) -> None:
    match job:
        case {"kind": "resize_image", "result": made}:
            print(f"  {unquote(urlsplit(made['location']).path)}")
            print(f"  {made['width']} x {made['height']} pixels, {made['bytes']:,} bytes of {made['format']}")
        case {"kind": "summarize_text", "result": made}:
            print(textwrap.fill(made["summary"], width=78, initial_indent="  ", subsequent_indent="  "))
        case {"kind": "send_email", "result": made}:
            path, mail = receivers.smtp.find(made["message_id"])
            print(f"  {path}\n  to {mail['To']}: {mail['Subject']}")
        case {"kind": "webhook_delivery"}:
            delivery = receivers.webhooks.find(job["id"])
            print(f"  the receiver has verified the signature of {delivery.event}\n  {json.dumps(delivery.body)}")


def _show_addresses(supervisor: Supervisor) -> None:
    print(f"\ndashboard       {supervisor.url}/ui")
    print(f"Swagger UI      {supervisor.url}/docs")
    print(f"metrics         {supervisor.url}/metrics")
    print(f"worker metrics  http://{HOST}:{supervisor.config.worker_metrics_port}/metrics\n", flush=True)
