"""What to call whoever did something: an API key by its name."""

from __future__ import annotations

from collections.abc import Mapping

from haulier.postgres.statements import Connection
from haulier.queue.access.api_keys import key_names

from ...http.auth import caller
from .reading import kept, part

# Older keys than these keep their ids, and so does a new one in the first seconds.
MOST, SECONDS = 10_000, 10.0
NAMES = {"env": "HAULIER_API_KEY", "cli": "command line", "file": "schedules.toml"}


def actor_name(actor: str) -> str:
    """Return the name of an API key or another actor; what is stored if the viewer may not know a better name."""
    if actor in NAMES:
        return NAMES[actor]
    return _key_names().get(actor, actor)


def actor_of(text: str) -> str:
    """Return the actor of this name, as it is stored; the text itself if no actor, or more than one, has the name."""
    names = {**NAMES, **_key_names()}
    # A key may be called like the id of another.
    named = [text] if text in names else [actor for actor, name in names.items() if name == text]
    return named[0] if len(named) == 1 else text


def _key_names() -> Mapping[str, str]:
    def look(conn: Connection) -> Mapping[str, str]:
        return key_names(conn, queues=caller().queues, limit=MOST)

    return kept("key names", (), lambda: part(look), seconds=SECONDS).value or {}
