"""For tests of Haulier inside another web application."""

from __future__ import annotations

from tests.http.callers import make_key  # noqa: F401  # fixture
from tests.web import count_jobs  # noqa: F401  # fixture
from tests.web.conftest import make_site  # noqa: F401  # fixture
