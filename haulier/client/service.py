"""Where a Haulier is, and the key to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from haulier.config import is_loopback

DEFAULT_URL = "http://127.0.0.1:8080"
# What a header can hold.
KEY = re.compile(r"[!-~]{1,255}")
BAD_KEY = "must be 1 to 255 visible ASCII characters, none of them a space"


@dataclass(frozen=True, slots=True)
class Service:
    """A Haulier and the key to it. `read_key` gives None if there is none; hint helps if nothing answers there."""

    url: str
    read_key: Callable[[], str | None] = field(repr=False)
    hint: str = field(default="", kw_only=True)

    @property
    def host(self) -> str:
        """Return its name for people: host and port."""
        return urlsplit(self.url).netloc

    @property
    def is_local(self) -> bool:
        """Return whether it is on this machine's loopback."""
        return is_loopback(urlsplit(self.url).hostname or "")

    @property
    def is_plain(self) -> bool:
        """Return whether anybody on the way could read the key."""
        return self.url.startswith("http:") and not self.is_local


def same(one: str, other: str) -> bool:
    """Return whether two URLs are the same service, to which a key may be sent."""
    return one.rstrip("/").lower() == other.rstrip("/").lower()


def check_url(given: str, where: str) -> str:
    """Return the URL without what follows its path. Raises: ValueError, which does not quote it."""
    try:
        parts = urlsplit(given)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or re.search(r"[^!-~]", given):
        raise ValueError(f"{where}: must be a URL such as https://jobs.example.com")
    # A password in a URL would be in the history of the shell and in lists of processes.
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{where}: must not contain a password, ? or #")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
