"""What a shell offers after a Tab: names that the service is asked for, briefly."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import click

from haulier.cli.client.files import folder_in, replace
from haulier.cli.client.service import choose
from haulier.cli.parts.invocation import Invocation
from haulier.client.api import Api, Call
from haulier.client.service import Service
from haulier.domain.job import NAME_PATTERN

SECONDS, KEPT_SECONDS = 0.3, 60.0
# What is asked for, and which field of each item is the name.
ASKED = {"queues": ("/queues", "name"), "kinds": ("/kinds", "kind"), "schedules": ("/schedules?limit=200", "name")}


def completes(what: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return what completes names of this."""
    return lambda context, _, begun: complete(what, context, begun)


def complete(what: str, context: click.Context, begun: str) -> list[str]:
    """Return the names that begin so; none if they are not known in time: completion must never print an error."""
    found: list[str] = []

    def ask() -> None:
        with suppress(Exception):
            found.extend(_names(what, context.ensure_object(Invocation)))

    # Loaded before the time runs.
    import requests  # noqa: F401

    # A thread, for nothing else bounds how long a name takes to be resolved.
    asking = Thread(target=ask, daemon=True, name="haulier-complete")
    asking.start()
    asking.join(SECONDS)
    return [name for name in found if name.startswith(begun)]


def _names(what: str, invocation: Invocation) -> list[str]:
    variables = invocation.variables
    service = choose(variables, url=invocation.given.get("url"), profile=invocation.given.get("profile"))
    if service.runs_command:
        # It could ask for a passphrase.
        return []
    kept = folder_in(variables, "XDG_CACHE_HOME", ".cache") / "completion.json"
    return _kept(kept, f"{what} {service.url}", lambda: _asked(what, service))


def _asked(what: str, service: Service) -> list[str]:
    path, name = ASKED[what]
    with closing(Api(service, note=lambda _: None)) as api:
        # Not said to be safe: for another attempt there is no time.
        answer = api.send(Call("GET", path, seconds=SECONDS))
    # The shell shows them as they are.
    return [each[name] for each in answer.body if re.fullmatch(NAME_PATTERN, each[name])]


def _kept(path: Path, name: str, ask: Callable[[], list[str]]) -> list[str]:
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        entry = kept[name]
        if 0 <= time.time() - entry["at"] < KEPT_SECONDS:
            return [str(each) for each in entry["names"]]
    except (OSError, ValueError, KeyError, TypeError):
        kept = {}
    found = ask()
    fresh = {each: entry for each, entry in kept.items() if time.time() - entry["at"] < KEPT_SECONDS}
    replace(path, json.dumps({**fresh, name: {"at": time.time(), "names": found}}))
    return found
