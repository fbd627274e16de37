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
    # As for gunicorn, and unlike for an installed command: HAULIER_KINDS may name what lies in the working directory.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    # Not before, since the other commands can do without.
    from haulier.worker.start import work_and_leave

    work_and_leave()
