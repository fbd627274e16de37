"""The command `haulier`, or `python -m haulier`: each of its commands is a file of `haulier.cli`."""

from __future__ import annotations

import argparse
import sys

from haulier import __version__
from haulier.cli import audit, init, keys, migrate, one_dyno, recount, run, server, web, worker
from haulier.domain.errors import HaulierError


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="haulier", description="Haulier's commands.")
    parser.add_argument("--version", action="version", version=f"haulier {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for each in (init, run, migrate, web, worker, one_dyno, keys, audit, recount):
        each.add_to(commands)
    parser.set_defaults(needs_server=True)
    args = parser.parse_args()
    try:
        if args.needs_server:
            server.require(args.command)
        return args.start(args) or 0
    except HaulierError as error:
        print(f"haulier: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
