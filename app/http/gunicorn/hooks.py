"""gunicorn's hooks: what is done once in its master, and how it logs; Flask is not loaded here."""

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
from haulier.postgres.limits import too_many  # noqa: E402
from haulier.queue.access.api_keys import any_exist  # noqa: E402
from haulier.queue.upkeep.migrate import check_schema  # noqa: E402


@atexit.register
def _remove_metrics() -> None:
    # gunicorn's children leave through here too.
    if os.environ.get(OWNER) == str(os.getpid()):
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


def stop(error: Exception | str) -> NoReturn:
    """End with one line: a worker that found out would be started again and again, with a traceback each time."""
    sys.exit(f"haulier: {error}")


try:
    settings = Config.from_env()
    load_kinds(settings)
except HaulierError as error:
    stop(error)


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


def address() -> str:
    """Return where to listen."""
    return f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"


FIRST_KEY = "Set HAULIER_API_KEY, or run `python -m haulier keys create`"
BEFORE_A_PROXY = "make a key before a proxy or tunnel leads here (`python -m haulier keys create`)"


def on_starting(server: Any) -> None:
    """Look at the database, once and before any process is forked; say what an operator should know."""
    _empty_metrics()
    has_no_key, excess = False, None
    try:
        conn = connect(settings.database_url, application_name="haulier web start")
        try:
            with translated():
                check_schema(conn)
                has_no_key = settings.haulier_api_key is None and not any_exist(conn)
                excess = too_many(conn, settings.web_connections)
        finally:
            close(conn)
    except DatabaseUnavailable as error:
        # An outage is no reason not to start: requests answer 503 until it ends, and each process looks again.
        server.log.warning("the database cannot be reached yet (%s): requests answer 503", error.__cause__ or error)
    except HaulierError as error:
        stop(error)
    workers, threads = settings.web_concurrency, settings.web_threads
    server.log.info("up to %d database connections: %d processes x %d threads", workers * threads, workers, threads)
    if excess:
        server.log.warning("%s: lower WEB_CONCURRENCY or WEB_THREADS", excess)
    if "WEB_THREADS" in settings.reduced:
        server.log.warning("WEB_THREADS is reduced to %d by DB_CONNECTION_LIMIT", threads)
    if settings.auth == "off":
        server.log.warning("AUTH=off: anyone who reaches %s may enqueue, read and cancel jobs", address())
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
