"""The parent of several worker processes, which are forks of it and share one port for metrics."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import NoReturn

from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.processes import INTERRUPTED, STOPPED, Child, Processes, leave
from haulier.version import version
from haulier.worker.metrics.port import MetricsPort

# The exit code of a child whose settings or schema do not fit.
UNFIT = 78

log = logging.getLogger(__name__)


class Parent(Processes):
    """Several worker processes, in places 1, 2, …"""

    together = "worker processes"

    def __init__(self, config: Config, metrics_port: MetricsPort | None, work: Callable[[], int]) -> None:
        names = [f"worker process {place}" for place in range(1, config.worker_processes + 1)]
        super().__init__(names, config.shutdown_seconds)
        self._config = config
        self._counts = metrics_port.counts if metrics_port else None
        # What a child runs; returns the child's exit code.
        self._work = work

    def run(self) -> int:
        """Keep the processes running until stopped, and return the exit code: 0, 1, or 130 for a second SIGINT."""
        self._say_what_it_takes()
        # Nothing is ever written to this pipe. The children read its end when this process ends, in whatever way.
        self._lifeline = os.pipe()
        return super().run()

    def _say_what_it_takes(self) -> None:
        config = self._config
        log.info(
            "Haulier %s: starting %d worker processes, with up to %d database connections in total",
            # Here, before the processes are forked, and so once for all of them.
            version(),
            config.worker_processes,
            config.worker_processes * config.worker_connections,
        )
        if others := [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]:
            log.warning("importing the kinds started threads, which do not exist in the worker processes: %s", others)

    def ended(self, child: Child) -> None:
        """Drop the gauges of a child that has ended; its counts stay."""
        if self._counts is not None:
            self._counts.forget(child.place)

    def lose(self, child: Child, code: int) -> None:
        """Replace a child that died; stop all if its settings or the schema do not fit."""
        if code in (STOPPED, INTERRUPTED):
            log.info("%s was told to stop and is not replaced", child)
        elif code == UNFIT:
            self.stop(1)
        else:
            self.replace(child, code)

    def work(self, place: int) -> NoReturn:
        """Run a worker in this fork, and end the process with its exit code."""
        code = 1
        try:
            self._drop_parent_state(place)
            code = self._work()
        except HaulierError as error:
            log.critical("%s", error)
            code = UNFIT
        except BaseException:
            log.critical("the worker process ends because of an error, which is a bug", exc_info=True)
        finally:
            if os.getppid() != self._pid and self._counts is not None:
                self._counts.remove()
            # Not sys.exit: it would unwind into the parent's own code, and wait for threads that handlers have started.
            leave(code)

    def _drop_parent_state(self, place: int) -> None:
        self.forked()
        os.close(self._lifeline[1])
        if self._counts is not None:
            self._counts.take(place)
        threading.Thread(target=self._stop_with_parent, name="lifeline", daemon=True).start()

    def _stop_with_parent(self) -> None:
        os.read(self._lifeline[0], 1)
        log.warning("the parent process has ended: stopping")
        os.kill(os.getpid(), signal.SIGTERM)
