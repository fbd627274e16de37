"""The tests of what carries the verbs begin from the same jobs and workers."""

from tests.postgres.subject import backends, end_backends, locked, name, subject  # noqa: F401  # fixtures
from tests.queue.conftest import (  # noqa: F401  # fixtures
    at_once,
    claim,
    enqueue,
    let_lease_run_out,
    make_due,
    open_conn,
    register,
    running,
    settle,
    until_somebody_waits,
    worker,
)
