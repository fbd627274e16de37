"""The address of several hosts: it ..."""

from __future__ import annotations

from haulier.config import Config
from haulier.logs import redacted
from haulier.postgres.connection import parse
from haulier.postgres.scratch import url_of

FORMS = {
    "postgresql://app:swordfish@db-a:5432,db-b:5433/jobs?target_session_attrs=read-write": ("db-a,db-b", "5432,5433"),
    "postgres://app:swordfish@/jobs?host=db-a,db-b&port=5432,5433&target_session_attrs=read-write": (
        "db-a,db-b",
        "5432,5433",
    ),
    "postgresql://app@/jobs?host=%2Frun%2Fa,%2Frun%2Fb&password=swordfish": ("/run/a,/run/b", None),
}


def test_is_taken_understood_and_logged_without_its_password():
    for url, hosts in FORMS.items():
        settings = Config.from_env({"DATABASE_URL": url, "DATABASE_DIRECT_URL": url})
        parsed = parse(settings.database_url)

        assert (parsed["host"], parsed.get("port")) == hosts
        assert settings.direct_url == url
        assert parse(url_of(url, "other")) == {**parsed, "dbname": "other"}
        assert "swordfish" not in redacted(f"cannot connect to {url}: no route")
        assert "swordfish" not in repr(settings)
