"""For tests of clients in other languages, and of those that others generate."""

from tests.web import run_gunicorn  # noqa: F401  # a fixture
