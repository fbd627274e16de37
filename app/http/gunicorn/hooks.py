"""gunicorn's hooks: the checks that its master makes once, and its logging; this module does not load Flask."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

# The processes' counts are summed from a folder. The variable must be set before the import of prometheus_client, which
# reads it once. The folder is private, because anybody who can write there can forge the metrics. Each master has its
# own: SIGUSR2 starts a second master, which inherits the environment and runs beside the first.
OWNER = "HAULIER_METRICS_OWNER"
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ or os.environ.get(OWNER, str(os.getpid())) != str(os.getpid()):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="haulier-metrics-")
    os.environ[OWNER] = str(os.getpid())

from gunicorn import __version__ as gunicorn_version  # noqa: E402
from gunicorn import version_info  # noqa: E402
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
from haulier.version import version  # noqa: E402


@atexit.register
def _remove_metrics() -> None:
    # gunicorn's children run this as well when they end.
    if os.environ.get(OWNER) == str(os.getpid()):
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


atexit.register(logs.let_go)


def stop(error: Exception | str) -> NoReturn:
    """End the master with one line: a worker that failed would be started over and over, each time with a traceback."""
    sys.exit(f"haulier: {error}")


try:
    settings = Config.from_env()
    load_kinds(settings)
except HaulierError as error:
    stop(error)


class logger_class(Logger):  # type: ignore[misc]  # the name of the setting; gunicorn has no types
    """Writes gunicorn's own lines in our format; the application writes the line of each request."""

    def setup(self, cfg: Any) -> None:
        """Send the records to the root logger."""
        self.cfg = cfg
        logs.setup(settings.log_format, settings.log_level, cell=settings.cell)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.setLevel(logging.NOTSET)

    @property
    def access_log_enabled(self) -> bool:
        """Return False: gunicorn's line of a request would have neither the request id nor the route."""
        return False


def address() -> str:
    """Return the address to listen at."""
    return f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"


# BufferingWorker changes what gunicorn 27 is made of. With an older one its own class serves.
BUFFERS = version_info >= (27,)
FIRST_KEY = "Set HAULIER_API_KEY or run `python -m haulier keys create`"
BEFORE_A_PROXY = "create a key before you put a proxy or tunnel in front (`python -m haulier keys create`)"


def on_starting(server: Any) -> None:
    """Check the database, once and before any process is forked; log what an operator should know."""
    _empty_metrics()
    has_no_key, excess = False, None
    try:
        conn = connect(settings.database_url, application_name="haulier web start")
        try:
            with translated():
                logs.name_cell(check_schema(conn, cell=settings.cell))
                has_no_key = settings.haulier_api_key is None and not any_exist(conn)
                excess = too_many(conn, settings.web_connections)
        finally:
            close(conn)
    except DatabaseUnavailable as error:
        # Start all the same: requests answer 503 until the outage ends, and each process checks the schema itself.
        server.log.warning("the database cannot be reached yet (%s): requests get 503", error.__cause__ or error)
    except HaulierError as error:
        stop(error)
    workers, threads = settings.web_concurrency, settings.web_threads
    # The version is found out here, before the processes are forked, and so once for all of them.
    _warn_of_gunicorn(server)
    started = "Haulier %s, with up to %d database connections: %d processes x %d threads"
    server.log.info(started, version(), workers * threads, workers, threads)
    if excess:
        server.log.warning("%s: lower WEB_CONCURRENCY or WEB_THREADS", excess)
    if "WEB_THREADS" in settings.reduced:
        server.log.warning("WEB_THREADS reduced to %d because of DB_CONNECTION_LIMIT", threads)
    if settings.auth == "off":
        server.log.warning("AUTH=off: anyone who can reach %s may enqueue, read and cancel jobs", address())
    elif has_no_key and settings.is_loopback:
        server.log.warning("there is no API key yet: every program on this machine may call; %s", BEFORE_A_PROXY)
    elif has_no_key:
        server.log.warning("there is no API key yet: every call gets 401. %s", FIRST_KEY)


def _warn_of_gunicorn(server: Any) -> None:
    if not BUFFERS:
        lacks = "slow clients occupy threads, and a restart can break off new connections: gunicorn 27 mends both"
        server.log.warning("gunicorn %s: %s", gunicorn_version, lacks)


def _empty_metrics() -> None:
    # If PROMETHEUS_MULTIPROC_DIR was given, it may hold the counts of an earlier run.
    for stale in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db"):
        stale.unlink(missing_ok=True)


def child_exit(server: Any, worker: Any) -> None:
    """Drop the gauges of a process that has ended; its counters stay in the sums."""
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
