"""Where Prometheus asks, and what it is told: the counts of one process, or those of several together."""

from __future__ import annotations

import errno
import logging
import shutil
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Metric, MetricsHandler, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.config import Config, keep_metrics_in

# Nobody keeps a thread of ours waiting for longer.
SCRAPE_SECONDS = 10.0
TRIES, TRY_SECONDS = 20, 0.01

log = logging.getLogger(__name__)


class Exposition:
    """The port for scrapers. Processes forked later share it: the kernel gives each scrape to one that is awake."""

    def __init__(self, door: socket.socket, counts: SharedCounts | None) -> None:
        self._door = door
        self.counts = counts

    @classmethod
    def open(cls, config: Config, *, shared: bool) -> Exposition | None:
        """Return the port, listening; None when it is off or busy, which must not stop the jobs.

        It settles where counts are kept, in memory or shared between processes, and so must come before the import of
        `app.worker.metrics`.
        """
        keep_metrics_in(None)
        values.ValueClass = values.MutexValue
        if config.worker_metrics_port == 0:
            return None
        host, port = config.worker_metrics_host, config.worker_metrics_port
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
            door = socket.create_server((host, port), family=family)
        except OSError as error:
            reason = "another process has it" if error.errno == errno.EADDRINUSE else error.strerror
            log.warning("no metrics at %s:%d: %s (WORKER_METRICS_PORT=0 turns them off)", host, port, reason)
            return None
        return cls(door, SharedCounts() if shared else None)

    def serve(self) -> Callable[[], None]:
        """Serve the metrics from a thread of this process, and return what stops that."""
        registry = REGISTRY
        if self.counts is not None:
            registry = CollectorRegistry()
            registry.register(self.counts)
        server = _Server(self._door, MetricsHandler.factory(registry))
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join(2)

        return stop

    def close(self) -> None:
        """Close the port and remove the shared counts; for the process that opened it, when all others have gone."""
        self._door.close()
        if self.counts is not None:
            self.counts.remove()


class SharedCounts(Collector):
    """A private folder in which several processes keep their counts, so that each can tell the sum.

    Each process has a place in it, not a file by its id: the successor of one that died goes on with its counts, and
    a scrape reads no more files when many have died.
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
        """Forget what the process in this place held; what it has counted stays in the sums."""
        mark_process_dead(place, self.folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Return the sums."""
        files: Collector = MultiProcessCollector(None, self.folder)  # type: ignore[no-untyped-call]
        for _ in range(TRIES):
            try:
                return list(files.collect())
            except struct.error:
                # A process is just making its file, which is empty for a moment.
                threading.Event().wait(TRY_SECONDS)
        return list(files.collect())

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Server(ThreadingHTTPServer):
    """A server at a door that others serve too."""

    def __init__(self, door: socket.socket, handler: type) -> None:
        super().__init__(door.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        # Whoever comes second finds nobody at the door, and must not wait there.
        door.setblocking(False)
        self.socket = door

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return a scraper's connection."""
        scraper, address = self.socket.accept()
        scraper.settimeout(SCRAPE_SECONDS)
        return scraper, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what went wrong with a scrape; that the scraper has left is not worth a line."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            log.exception("a scrape of the metrics failed")
