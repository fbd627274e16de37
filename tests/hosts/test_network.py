"""The network of hosts on one machine ..."""

from __future__ import annotations

import pytest

from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres.connection import connect

pytestmark = pytest.mark.slow


def test_lets_no_other_program_of_this_machine_into_the_database(server):
    _, url = server.make_database("for_hosts")

    with pytest.raises(DatabaseUnavailable):
        connect(url)
