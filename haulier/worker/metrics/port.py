"""The port for Prometheus, at which it reads the metrics of one process, or those of several together.

At /health the same numbers are reduced to whether this worker takes jobs, and how it notices them.
"""

from __future__ import annotations

import errno
import hmac
import json
import logging
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from prometheus_client import REGISTRY, CollectorRegistry, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from haulier.config import Config, is_loopback, keep_metrics_in
from haulier.domain.api_key import bearer_in
from haulier.domain.neighbour import is_local_host
from haulier.domain.scrape import accepted, labelled
from haulier.worker.metrics.http_server import PortHandler, PortServer

# A worker that has not claimed for this many polls, or for a lease if that is longer, is unavailable.
POLLS_MISSED = 3
TRIES, TRY_SECONDS = 20, 0.01
PORTS_TRIED = 100

log = logging.getLogger(__name__)


class MetricsPort:
    """The port for scrapers. Processes forked later share it: the kernel gives each scrape to one that is awake."""

    def __init__(self, listening: socket.socket, counts: SharedCounts | None, config: Config) -> None:
        self._listening = listening
        self._config = config
        self.counts = counts

    @classmethod
    def open(cls, config: Config, *, shared: bool) -> MetricsPort | None:
        """Return the port, listening; None when it is off or busy, which must not stop the jobs.

        This decides where counts are kept, in memory or shared between processes, and so must come before the import of
        `haulier.worker.metrics.counts`.
        """
        keep_metrics_in(None)
        values.ValueClass = values.MutexValue
        if config.worker_metrics_port == 0:
            return None
        listening = _listen(config)
        return cls(listening, SharedCounts() if shared else None, config) if listening is not None else None

    def serve(self, cell: int | None = None) -> Callable[[], None]:
        """Serve the metrics of this cell from a thread of this process, and return what stops that."""
        registry = REGISTRY
        if self.counts is not None:
            registry = CollectorRegistry()
            registry.register(self.counts)
        if cell:
            inner, registry = registry, CollectorRegistry(auto_describe=True)
            registry.register(_OfCell(inner, cell))
        page = type("Page", (_Page,), {"registry": registry, "config": self._config})
        server = PortServer(self._listening, page)
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join(2)

        return stop

    def close(self) -> None:
        """Close the port and remove the shared counts; for the process that opened it, after all others have ended."""
        self._listening.close()
        if self.counts is not None:
            self.counts.remove()


def _listen(config: Config) -> socket.socket | None:
    host, port = config.worker_metrics_host, config.worker_metrics_port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if (
            error.errno == errno.EADDRINUSE
            and config.metrics_port_may_move
            and (listening := _next_free(host, port, family))
        ):
            message = (
                "metrics at %s:%d, because another process uses %d (set WORKER_METRICS_PORT to give each"
                " worker its own)"
            )
            log.warning(message, host, listening.getsockname()[1], port)
            return listening
        reason = "another process uses the port" if error.errno == errno.EADDRINUSE else error.strerror
        log.warning("no metrics at %s:%d: %s (WORKER_METRICS_PORT=0 turns them off)", host, port, reason)
        return None


def _next_free(host: str, port: int, family: socket.AddressFamily) -> socket.socket | None:
    for other in range(port + 1, min(port + PORTS_TRIED, 65_536)):
        with suppress(OSError):
            return socket.create_server((host, other), family=family)
    return None


class SharedCounts(Collector):
    """A private folder in which several processes keep their counts, so that each can return the sums.

    Its files are named by a process's place, not by its id: the successor of a process that died continues with its
    counts, and a scrape does not read more files after many have died.
    """

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="haulier-metrics-")
        self._place = 0
        keep_metrics_in(self.folder)
        values.ValueClass = values.MultiProcessValue(lambda: self._place)  # type: ignore[no-untyped-call]

    def take(self, place: int) -> None:
        """Count in this place from now on. No other living process may have it."""
        self._place = place

    def forget(self, place: int) -> None:
        """Drop the gauges of the process in this place; its counters stay in the sums."""
        mark_process_dead(place, self.folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Return the sums."""
        files: Collector = MultiProcessCollector(None, self.folder)  # type: ignore[no-untyped-call]
        # Never set: another process makes the file, and this event is only used to wait.
        file_is_made = threading.Event()
        for _ in range(TRIES):
            try:
                return list(files.collect())
            except struct.error:
                # A process is just making its file, which is empty for a moment.
                file_is_made.wait(TRY_SECONDS)
        return list(files.collect())

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _OfCell(Collector):
    """What a registry collects, with the label `cell` on each series."""

    def __init__(self, registry: Collector, cell: int) -> None:
        self._registry, self._cell = registry, cell

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return labelled(self._registry.collect(), self._cell)


def health(registry: Collector, config: Config) -> dict[str, str]:
    """Return whether this worker takes jobs, and how it notices them; of several processes the worst counts.

    `status` is ok or unavailable; scans is ok or failing, and if they fail for as long as a lease status is
    unavailable; `wake_ups` is listening, polling or off; unless it is off, through is the setting whose database
    address the worker listens at, or tries to.
    """
    found = {sample.name: sample.value for parent in registry.collect() for sample in parent.samples}
    most = max(config.lease_seconds, POLLS_MISSED * config.poll_seconds)
    ages = [found.get(f"worker_{name}_age_seconds") for name in ("beat", "poll")]
    failing = found.get("worker_scans_failing_seconds", 0.0)
    is_ok = all(age is not None and age <= most for age in [*ages, failing])
    said = {"status": "ok" if is_ok else "unavailable", "scans": "failing" if failing else "ok"}
    if config.wake_ups == "off":
        return {**said, "wake_ups": "off"}
    how = "polling" if found.get("worker_polling") else "listening"
    return {**said, "wake_ups": how, "through": config.direct_setting}


class _Page(PortHandler):
    """The metrics, and the health."""

    config: Config

    def do_GET(self) -> None:
        """Answer a request for the metrics or the health."""
        if not self._is_for_us():
            self.answer(403, b"the header Host names another machine; METRICS_TOKEN opens this port under any name\n")
        elif self.path.partition("?")[0] == "/health":
            found = health(self.registry, self.config)
            status = 200 if found["status"] == "ok" else 503
            self.answer(status, json.dumps(found).encode(), ("Content-Type", "application/json"))
        elif not self._may_scrape():
            self.answer(401, b"", ("WWW-Authenticate", 'Bearer realm="haulier"'))
        else:
            accept = accepted(self.headers.get("Accept"))
            del self.headers["Accept"]
            self.headers["Accept"] = accept
            super().do_GET()

    def _is_for_us(self) -> bool:
        """Return whether no web page can have sent the request by pointing its own name here (DNS rebinding)."""
        if self.config.metrics_token is not None or not is_loopback(self.config.worker_metrics_host):
            return True
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and is_local_host(hosts[0], [self.config.worker_metrics_host])

    def _may_scrape(self) -> bool:
        token, given = self.config.metrics_token, bearer_in(self.headers.get("Authorization", ""))
        return token is None or hmac.compare_digest(given.encode(), token.encode())
