"""The command `haulier`, or `python -m haulier`: each of its commands is a file of `haulier.cli`."""

from __future__ import annotations

import sys

from haulier.cli.root import root


def main() -> int:
    """Run the command and return its exit code."""
    return int(root.main(standalone_mode=False))


if __name__ == "__main__":
    sys.exit(main())
