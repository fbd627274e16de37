"""Jobs for what is run by a command: as the tests of the worker have them."""

from tests.worker.conftest import enqueue, few_connections, finished, free_port, ledger  # noqa: F401
