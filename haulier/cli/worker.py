"""`python -m haulier worker`: claims jobs and runs them until stopped."""

from __future__ import annotations

from typing import NoReturn

from haulier.cli.server import find_modules_here, server_command


@server_command("worker", example="WORKER_THREADS=4 haulier worker")
def worker() -> NoReturn:
    """Claim jobs and run them, until stopped."""
    find_modules_here()
    # Imported late, since the other commands do not need it.
    from haulier.worker.start import work_and_leave

    work_and_leave()
