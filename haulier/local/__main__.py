"""`python -m haulier.local run`, `… demo`, `… psql` and `… clean`: what make's run, demo, psql and clean-data do."""

from __future__ import annotations

import os
import sys

from haulier.domain.errors import HaulierError
from haulier.local.demo import demo
from haulier.local.psql import psql
from haulier.local.run import clean, run


def main() -> int:
    """Run the command and return its exit code."""
    try:
        match sys.argv[1:]:
            case ["run"]:
                return run()
            case ["demo"]:
                return demo(once=bool(os.environ.get("ONCE")))
            case ["psql"]:
                psql()
            case ["clean"]:
                return clean()
    except (HaulierError, PermissionError) as error:
        print(f"haulier: {error}", file=sys.stderr)
        return 1
    print("usage: python -m haulier.local run | demo | psql | clean", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
