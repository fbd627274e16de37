"""Jobs for what is run by a command, as the tests of the worker have them, and commands that run."""

from tests.cli.started import run_command  # noqa: F401
from tests.worker.conftest import enqueue, few_connections, finished, free_port, ledger  # noqa: F401
