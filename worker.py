"""`python worker.py`: claims jobs and runs them until it is told to stop. The threads live in app/worker."""

from __future__ import annotations

import os
import sys

from app.config import Config
from app.domain.errors import HaulierError
from app.kinds import load_kinds
from app.logs import setup
from app.worker.process import Worker


def main() -> int:
    """Run the worker and return its exit code."""
    try:
        config = Config.from_env()
        setup(config.log_format, config.log_level)
        return Worker(config, load_kinds(config)).run()
    except HaulierError as error:
        print(f"haulier worker: {error}", file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread stuck in a handler, or one of the handler's own, would keep the process.
    os._exit(code)
