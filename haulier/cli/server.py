"""What `pip install 'haulier[server]'` brings, and who needs it."""

from __future__ import annotations

from importlib.util import find_spec

from haulier.domain.errors import ConfigError

# Not all of them: who has these has the others.
PACKAGES = ("psycopg2", "marshmallow", "prometheus_client", "gunicorn", "flask_smorest", "PIL")


def require(command: str) -> None:
    """Return where the server's packages are installed. Raises: ConfigError."""
    if missing := next((name for name in PACKAGES if find_spec(name) is None), None):
        raise ConfigError(
            f"`haulier {command}` needs what the server needs ({missing} is not there): pip install 'haulier[server]'"
        )
