"""Starts a worker: reads its settings and kinds, opens its port, then works or becomes the parent of several."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NoReturn

from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.kinds import Kind, load_kinds
from haulier.libc import share_heaps
from haulier.logs import setup
from haulier.processes import leave
from haulier.version import requirement
from haulier.worker.metrics.port import MetricsPort
from haulier.worker.parent import Parent

# The included kinds that need more than the extra `worker` installs: which module, and which extra has it.
EXTRAS = {"resize_image": ("PIL", "images")}


def work_and_leave() -> NoReturn:
    """Run the worker, and end this process with its exit code."""
    # Not sys.exit: it would wait for threads that handlers have started.
    leave(main())


def main() -> int:
    """Run the worker and return its exit code."""
    share_heaps()
    try:
        config = Config.from_env()
        setup(config.log_format, config.log_level, cell=config.cell)
        return run(config)
    except HaulierError as error:
        print(f"haulier worker: {error}", file=sys.stderr)  # noqa: T201
        return 1


def run(config: Config) -> int:
    """Work, in this process or as the parent of several, and return the exit code."""
    if "WORKER_PROCESSES" in config.reduced:
        message = "WORKER_PROCESSES reduced to %d because of DB_CONNECTION_LIMIT"
        logging.getLogger(__name__).warning(message, config.worker_processes)
    metrics_port = MetricsPort.open(config, shared=config.worker_processes > 1)
    # Not at the top: this import makes the metrics, and `MetricsPort.open` decides where their values are kept.
    from haulier.worker.assembly import assemble

    try:
        kinds = _leave_out(load_kinds(config), config)

        def work() -> int:
            return assemble(config, kinds, metrics_port).run()

        # One process has no parent, which would take memory of its own: the platform starts the process again.
        return work() if config.worker_processes == 1 else Parent(config, metrics_port, work).run()
    finally:
        if metrics_port is not None:
            metrics_port.close()


def _leave_out(kinds: dict[str, Kind], config: Config) -> dict[str, Kind]:
    """Return the kinds without those whose library is not installed here: their jobs are left to other workers."""
    for name, (module, extra) in EXTRAS.items():
        if config.executor == "real" and find_spec(module) is None:
            kinds = {each: kind for each, kind in kinds.items() if each != name}
            message = "%s jobs are left to other workers, because %s is not installed: pip install '%s'"
            logging.getLogger(__name__).warning(message, name, module, requirement(extra))
    return kinds


@contextmanager
def guest(config: Config, kinds: Mapping[str, Kind]) -> Iterator[threading.Thread]:
    """Run a worker on a thread of this process while the block runs; signals, logs and exit stay the caller's.

    The thread ends before the block if the worker cannot continue.
    """
    from haulier.worker.assembly import assemble

    worker = assemble(config, kinds, None)
    thread = threading.Thread(target=worker.work, name="guest", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        worker.ask_to_stop()
        thread.join()
