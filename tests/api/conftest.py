"""For tests of the HTTP API."""

from tests.web import (  # noqa: F401  # fixtures
    client,
    count_jobs,
    email,
    make_app,
    run_gunicorn,
    server,
    shared_server,
)
