"""`python -m haulier worker`: claims jobs and runs them until it is told to stop."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `python -m haulier`."""
    parser = commands.add_parser("worker", help="claim jobs and run them, until it is told to stop")
    parser.set_defaults(start=_work)


def _work(args: argparse.Namespace) -> NoReturn:
    # HAULIER_KINDS may name modules of the working directory, which gunicorn puts on the path and an installed command
    # does not.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    # Imported late, since the other commands do not need it.
    from haulier.worker.start import work_and_leave

    work_and_leave()
