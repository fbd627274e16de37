"""Haulier's schema in a database of Django's."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from haulier.contrib.schema import create_at

# The parameters of libpq that lead to the same database. The others may be unknown to another driver's libpq.
LEADING = ("host", "hostaddr", "port", "user", "dbname", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey")


def create_schema(connection: Any) -> None:
    """Bring Haulier's schema in the database of this connection up to this version, on a separate connection.

    Args:
        connection: One of `django.db.connections`.
    """
    connection.ensure_connection()
    info = connection.connection.info
    # psycopg2 has the one, psycopg the other.
    parameters = info.dsn_parameters if hasattr(info, "dsn_parameters") else info.get_parameters()
    # Neither of them contains the password.
    given = {**{name: parameters[name] for name in LEADING if parameters.get(name)}, "password": info.password or ""}
    create_at(f"postgresql:///?{urlencode(given, quote_via=quote)}")
