"""`python -m haulier worker`: claims jobs and runs them until it is told to stop."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from haulier.cli.server import server_command


@server_command("worker", example="WORKER_THREADS=4 haulier worker")
def worker() -> NoReturn:
    """Claim jobs and run them, until told to stop."""
    # HAULIER_KINDS may name modules of the working directory, which gunicorn puts on the path and an installed command
    # does not.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    # Imported late, since the other commands do not need it.
    from haulier.worker.start import work_and_leave

    work_and_leave()
