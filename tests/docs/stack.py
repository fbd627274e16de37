"""Haulier as the documentation's reader has it: a gunicorn and a worker, on the test's database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import PATIENCE, eventually
from tests.docs.reading import ROOT
from tests.web import gunicorn


@contextmanager
def haulier(dsn: str, **environ: str) -> Iterator[str]:
    """Run both with these settings, and give the API's URL."""
    with gunicorn(dsn, eventually, **{"WEB_CONCURRENCY": "1", **environ}) as server, _worker(dsn, **environ):
        yield server.url


@contextmanager
def _worker(dsn: str, **environ: str) -> Iterator[None]:
    environ = {"PATH": os.environ["PATH"], "DATABASE_URL": dsn, "WORKER_METRICS_PORT": "0", **environ}
    process = subprocess.Popen([sys.executable, "worker.py"], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
