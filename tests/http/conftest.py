"""For tests of what the API and later pages share."""

from tests.http.callers import closed, make_key, public  # noqa: F401  # fixtures
from tests.web import (  # noqa: F401  # fixtures
    client,
    count_jobs,
    email,
    make_app,
    run_gunicorn,
    server,
    shared_server,
)
