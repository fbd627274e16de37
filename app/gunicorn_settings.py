"""gunicorn's settings, a reason on each. By gunicorn.conf.py in a checkout, by `haulier web` where it is installed."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

# Before anything imports prometheus_client, which looks once: the processes' counts are summed from a folder.
# Private, because whoever can write there writes our metrics. One for each master: SIGUSR2 starts another that inherits
# the environment and runs beside it.
OWNER = "HAULIER_METRICS_OWNER"
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ or os.environ.get(OWNER, str(os.getpid())) != str(os.getpid()):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="haulier-metrics-")
    os.environ[OWNER] = str(os.getpid())

from gunicorn.glogging import Logger  # noqa: E402
from prometheus_client.multiprocess import mark_process_dead  # noqa: E402

from haulier import logs  # noqa: E402
from haulier.config import Config  # noqa: E402
from haulier.domain.errors import DatabaseUnavailable, HaulierError  # noqa: E402
from haulier.kinds import load_kinds  # noqa: E402
from haulier.postgres.connection import close, connect  # noqa: E402
from haulier.postgres.errors import translated  # noqa: E402
from haulier.queue.access.api_keys import any_exist  # noqa: E402
from haulier.queue.upkeep.migrate import check_schema  # noqa: E402

from .serving import limits  # noqa: E402


@atexit.register
def _remove_metrics() -> None:
    # gunicorn's children leave through here too.
    if os.environ.get(OWNER) == str(os.getpid()):
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


def _stop(error: Exception | str) -> NoReturn:
    """End with one line: a worker that found out would be started again and again, with a traceback each time."""
    sys.exit(f"haulier: {error}")


try:
    settings = Config.from_env()
    load_kinds(settings)
except HaulierError as error:
    _stop(error)


class logger_class(Logger):  # type: ignore[misc]  # the name of the setting; gunicorn has no types
    """gunicorn's own lines in the form of ours; the line of a request is written by the application."""

    def setup(self, cfg: Any) -> None:
        """Send the records to the root logger."""
        self.cfg = cfg
        logs.setup(settings.log_format, settings.log_level)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.setLevel(logging.NOTSET)

    @property
    def access_log_enabled(self) -> bool:
        """Not by gunicorn: it would know neither the request id nor the route."""
        return False


# PORT means that a platform told us, and its router comes from outside; else only this machine may call.
bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
# Threads, because a request mostly waits for Postgres. gunicorn's own would also wait for slow clients.
worker_class = f"{__package__}.serving.worker.BufferingWorker"
# 500, or as many as the limit of open files leaves; of more, those that take longest are closed.
worker_connections = limits.connections(limits.open_files(settings.web_threads), settings.web_threads)
if worker_connections < limits.LEAST_CONNECTIONS + settings.web_threads:
    _stop("a process may open too few files for WEB_THREADS: raise the limit (ulimit -n), 1024 is usual")
# The one that the tests know; a faster one would be taken wherever it happens to be installed.
http_parser = "python"
# No caller says where the path begins: by default the header SCRIPT_NAME does, and makes a 500 of each other path.
forwarder_headers = ""
# Our own calls need a line of 200 bytes and ten headers; routers and tracing add theirs.
limit_request_line, limit_request_fields, limit_request_field_size = 4094, 64, 8190
# Two, so that one that dies is not the service; a platform sets WEB_CONCURRENCY by its dyno's memory.
workers = settings.web_concurrency
# Each thread holds a connection: 2 x 3, with a worker's 10, fit a plan of 20.
threads = settings.web_threads
# Each process loads the application itself, after the fork: no connection can cross one.
preload_app = False
# A router keeps idle connections (Heroku's for 90 s) and may send on one that we are closing: we close later.
keepalive = 95
# Of the process, not of a request: a thread pool whose main loop is silent this long hangs. A router gives up at 30.
timeout = 30
# Below the 30 s after which a platform kills; requests under way finish.
graceful_timeout = max(1, int(settings.shutdown_seconds))
# The heartbeat file in memory: on a disk that is slow, a healthy process was killed for not writing it.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Off: it is one socket for each user of the machine, and two services would take it from each other.
control_socket_disable = True
# Behind a platform's router every request comes from it, at an address not known before; elsewhere nobody's word
# about the client's address and scheme is taken.
forwarded_allow_ips = "*" if "DYNO" in os.environ or "RENDER" in os.environ else "127.0.0.1,::1"
# None: counts of dead processes stay on disk, and every scrape reads them (200 of them: 390 ms).
max_requests = 0


FIRST_KEY = "Set HAULIER_API_KEY, or run `python -m haulier keys create`"
BEFORE_A_PROXY = "make a key before a proxy or tunnel leads here (`python -m haulier keys create`)"


def on_starting(server: Any) -> None:
    """Look at the database, once and before any process is forked; say what an operator should know."""
    _empty_metrics()
    has_no_key = False
    try:
        conn = connect(settings.database_url, application_name="haulier web start")
        try:
            with translated():
                check_schema(conn)
                has_no_key = settings.haulier_api_key is None and not any_exist(conn)
        finally:
            close(conn)
    except DatabaseUnavailable as error:
        # An outage is no reason not to start: requests answer 503 until it ends, and each process looks again.
        server.log.warning("the database cannot be reached yet (%s): requests answer 503", error.__cause__ or error)
    except HaulierError as error:
        _stop(error)
    server.log.info("up to %d database connections: %d processes x %d threads", workers * threads, workers, threads)
    if "WEB_THREADS" in settings.reduced:
        server.log.warning("WEB_THREADS is reduced to %d by DB_CONNECTION_LIMIT", threads)
    if settings.auth == "off":
        server.log.warning("AUTH=off: anyone who reaches %s may enqueue, read and cancel jobs", bind)
    elif has_no_key and settings.is_loopback:
        server.log.warning("there is no API key yet: every program of this machine may call; %s", BEFORE_A_PROXY)
    elif has_no_key:
        server.log.warning("there is no API key yet: every call is answered 401. %s", FIRST_KEY)


def _empty_metrics() -> None:
    # Only of use where PROMETHEUS_MULTIPROC_DIR was given: counts that an earlier run has left are not ours.
    for stale in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db"):
        stale.unlink(missing_ok=True)


def child_exit(server: Any, worker: Any) -> None:
    """Forget the gauges of a process that has gone; its counts stay in the sums."""
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
