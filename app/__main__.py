"""`python -m app migrate`: apply the schema. Used by the Procfile's release phase and by operators."""

from __future__ import annotations

import argparse
import sys

from app.config import Config
from app.domain.errors import HaulierError
from app.queue.connection import connect, translated
from app.queue.migrate import migrate


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m app", description="Haulier's commands.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="apply schema.sql and make the history's partitions; safe to repeat")
    parser.parse_args()
    try:
        config = Config.from_env()
        conn = connect(config.database_url, application_name="haulier migrate")
        try:
            with translated():
                print(migrate(conn, retention_days=config.retention_days))
        finally:
            conn.close()
    except HaulierError as error:
        print(f"haulier: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
