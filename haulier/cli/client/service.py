"""Which Haulier a command calls, and with which key: by flags, the environment, a profile, in this order."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from haulier.cli.client import profiles
from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.client.profiles import Profile, Profiles
from haulier.config import is_loopback

DEFAULT_URL = "http://127.0.0.1:8080"
# What a header can hold.
KEY = re.compile(r"[!-~]{1,255}")
COMMAND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Service:
    """A Haulier and the key to it. `read_key` gives None if there is none, and may run a command for it."""

    url: str
    read_key: Callable[[], str | None] = field(repr=False)
    profile: str | None = None
    confirm: bool = False
    runs_command: bool = False

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


def choose(variables: Mapping[str, str], *, url: str | None, profile: str | None) -> Service:
    """Return the service that these flags and variables name. Raises: CommandError."""
    if url is not None and profile is not None:
        raise CommandError("give either --url or --profile: a profile has its own URL", Code.USAGE)
    known = profiles.read(profiles.path_in(variables))
    if profile is not None:
        return _of_profile(known.named(profile), variables, comes_first=True)
    given = url or variables.get("HAULIER_URL")
    if given is None and (found := _unnamed(known, variables)):
        return _of_profile(found, variables, comes_first=False)
    checked = check_url(given or DEFAULT_URL, "--url" if url else "HAULIER_URL")
    mine = next((each for each in _in_order(known, variables) if same(each.url, checked)), None)
    if mine is None:
        return Service(checked, lambda: _checked(variables.get("HAULIER_API_KEY"), "HAULIER_API_KEY"))
    return _of_profile(mine, variables, comes_first=False)


def _unnamed(known: Profiles, variables: Mapping[str, str]) -> Profile | None:
    name = variables.get("HAULIER_PROFILE") or known.default
    return None if name is None else known.named(name)


def _in_order(known: Profiles, variables: Mapping[str, str]) -> list[Profile]:
    """Return all profiles, the one of the environment and the default first: several may have the same URL."""
    first = (variables.get("HAULIER_PROFILE"), known.default)
    names = [name for name in first if name in known.by_name]
    return [*(known.by_name[name] for name in names if name), *known.by_name.values()]


def _of_profile(profile: Profile, variables: Mapping[str, str], *, comes_first: bool) -> Service:
    """Return its service: whoever names a profile by a flag means its key, and not that of the environment."""
    given = variables.get("HAULIER_API_KEY")
    has_key = profile.key is not None or profile.key_command is not None
    url = check_url(profile.url, f"the profile {profile.name}")
    if given is not None and not (comes_first and has_key):
        return Service(url, lambda: _checked(given, "HAULIER_API_KEY"), profile.name, profile.confirm)
    runs_command = profile.key_command is not None
    return Service(url, lambda: key_of(profile), profile.name, profile.confirm, runs_command)


def key_of(profile: Profile) -> str | None:
    """Return the key of the profile. Raises: CommandError, which never quotes it."""
    if profile.key_command is None:
        return _checked(profile.key, f"the key of the profile {profile.name}")
    where = f"the key_command of the profile {profile.name}"
    try:
        # By a shell, as it is written; it may ask for a passphrase.
        done = subprocess.run(profile.key_command, shell=True, stdout=subprocess.PIPE, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        raise CommandError(f"{where} did not end within {COMMAND_SECONDS} s", Code.NO_KEY) from None
    if done.returncode:
        raise CommandError(f"{where} ended with exit code {done.returncode}", Code.NO_KEY)
    lines = done.stdout.decode(errors="replace").split("\n", 1)
    return _checked(lines[0].strip(), where)


def _checked(key: str | None, where: str) -> str | None:
    if key is not None and not KEY.fullmatch(key):
        raise CommandError(f"{where}: must be 1 to 255 visible ASCII characters, none of them a space", Code.NO_KEY)
    return key


def same(one: str, other: str) -> bool:
    """Return whether two URLs are the same service, to which a key may be sent."""
    return one.rstrip("/").lower() == other.rstrip("/").lower()


def check_url(given: str, where: str) -> str:
    """Return the URL without what follows its path. Raises: CommandError, which does not quote it."""
    try:
        parts = urlsplit(given)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or re.search(r"[^!-~]", given):
        raise CommandError(f"{where}: must be a URL such as https://jobs.example.com", Code.USAGE)
    # A password in a URL would be in the history of the shell and in lists of processes.
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise CommandError(f"{where}: must not contain a password, ? or #", Code.USAGE)
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
