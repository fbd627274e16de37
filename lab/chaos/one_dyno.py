"""A stage of one dyno: `haulier all` as a platform starts it, by a role that may have 20 connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from psycopg2.extensions import parse_dsn

from haulier.local.guard import Guarded
from lab.chaos.stage import PYTHON, STOP_BY, Service, Stage
from lab.descendants import descendants
from lab.waiting import ROOT

# What the smallest dyno and the smallest plan of a database give.
MOST_BYTES, MOST_CONNECTIONS = 512 * 1024 * 1024, 20
ROLE = "one_dyno"


@dataclass
class Dyno(Service):
    """The one process that a platform starts, and all that it starts."""

    def working(self) -> list[int]:
        """Return all of them: each takes memory."""
        assert self.guarded.process is not None
        return descendants(self.guarded.process.pid)


class OneDyno(Stage):
    """A stage with only `haulier all`, under the default settings."""

    worker_processes = 1

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, is_broken=False, web={}, worker={"LEASE_SECONDS": "30"})

    def _add_services(self) -> None:
        parts = parse_dsn(self.url)
        # Not the owner itself, a superuser, whom no limit binds.
        owner = '"{}"'.format(parts["user"].replace('"', '""'))
        self.run(f"CREATE ROLE {ROLE} LOGIN CONNECTION LIMIT {MOST_CONNECTIONS} IN ROLE {owner}")
        parts["user"] = ROLE
        environ = {
            **self.common(),
            "DATABASE_URL": "postgresql://?" + "&".join(f"{name}={quote(value)}" for name, value in parts.items()),
            "API_BIND_ADDR": f"127.0.0.1:{self.port}",
            "WORKER_METRICS_PORT": "0",
            "CHAOS_LEDGER": "/dev/null",
        }
        command = [PYTHON, "-m", "haulier", "all"]
        dyno = Dyno("dyno", Guarded(command, STOP_BY, env=environ, cwd=ROOT, output=self.logs / "dyno.log"), False)
        dyno.start()
        self.services.append(dyno)


def peaks(samples: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the most that the dyno took of what is limited, and whether it kept to that. Units: bytes."""
    memory, connections = (max(each[name] for each in samples) for name in ("dyno_rss_bytes", "connections"))
    return {
        "rss_bytes": memory,
        "connections": connections,
        "fits": memory <= MOST_BYTES and connections <= MOST_CONNECTIONS,
    }
