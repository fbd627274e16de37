"""The parent of several worker processes, each a fork of it, with one port for the metrics of all."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import NoReturn

from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.processes import INTERRUPTED, TOLD, Child, Processes, how, leave
from haulier.worker.metrics.port import MetricsPort

# How a child leaves that finds settings or schema unfit.
REFUSED = 78

log = logging.getLogger(__name__)


class Parent(Processes):
    """Several worker processes, in places 1, 2, …"""

    together = "worker processes"

    def __init__(self, config: Config, metrics_port: MetricsPort | None, work: Callable[[], int]) -> None:
        names = [f"worker process {place}" for place in range(1, config.worker_processes + 1)]
        super().__init__(names, config.shutdown_seconds)
        self._config = config
        self._counts = metrics_port.counts if metrics_port else None
        # What a child does; it returns the exit code.
        self._work = work

    def run(self) -> int:
        """Keep the processes running until told to stop, and return the exit code: 0, 1, or 130 for a second SIGINT."""
        self._say_what_it_takes()
        # Nothing is ever written to it: it ends for the children when this process does, however it does.
        self._lifeline = os.pipe()
        return super().run()

    def _say_what_it_takes(self) -> None:
        config = self._config
        log.info(
            "starting %d worker processes, with up to %d database connections together",
            config.worker_processes,
            config.worker_processes * config.worker_connections,
        )
        if others := [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]:
            log.warning("the import of the kinds started threads, which the worker processes lack: %s", others)

    def ended(self, child: Child) -> None:
        """Forget what it held; what it has counted stays."""
        if self._counts is not None:
            self._counts.forget(child.place)

    def lose(self, child: Child, code: int) -> None:
        """Replace one that died; stop all where none can work."""
        if code in (TOLD, INTERRUPTED):
            log.info("%s was told to stop, and gets no successor", child)
        elif code == REFUSED:
            self.stop(1)
        else:
            pause = self.replace(child)
            log.error("%s %s after %.1f s; its successor comes in %.0f s", child, how(code), child.age, pause)

    def work(self, place: int) -> NoReturn:
        """Be a worker process."""
        code = 1
        try:
            self._leave_home(place)
            code = self._work()
        except HaulierError as error:
            log.critical("%s", error)
            code = REFUSED
        except BaseException:
            log.critical("the worker process ends by an error, which is a bug", exc_info=True)
        finally:
            if os.getppid() != self._pid and self._counts is not None:
                self._counts.remove()
            # Not sys.exit, which would unwind into the parent's own code.
            leave(code)

    def _leave_home(self, place: int) -> None:
        self.forked()
        os.close(self._lifeline[1])
        if self._counts is not None:
            self._counts.take(place)
        threading.Thread(target=self._outlive_nobody, name="lifeline", daemon=True).start()

    def _outlive_nobody(self) -> None:
        os.read(self._lifeline[0], 1)
        log.warning("the parent process is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)
