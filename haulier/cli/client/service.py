"""Which Haulier a command calls, and with which key: by flags, the environment, a profile, in this order."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from haulier.cli.client import profiles
from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.client.profiles import Profile, Profiles
from haulier.client.service import BAD_KEY, DEFAULT_URL, KEY, Service, check_url, same

COMMAND_SECONDS = 60
NONE_CHOSEN = "no service is chosen yet: `haulier login --url …`, or set HAULIER_URL"


@dataclass(frozen=True, slots=True)
class Chosen(Service):
    """A service with what a profile says of it. `runs_command` says that reading the key does."""

    profile: str | None = None
    confirm: bool = False
    runs_command: bool = False


def choose(variables: Mapping[str, str], *, url: str | None, profile: str | None) -> Chosen:
    """Return the service that these flags and variables name. Raises: CommandError."""
    if url is not None and profile is not None:
        raise CommandError("give either --url or --profile: a profile has its own URL", Code.USAGE)
    known = profiles.read(profiles.path_in(variables))
    if profile is not None:
        return _of_profile(known.named(profile), variables, comes_first=True)
    given = url or variables.get("HAULIER_URL")
    if given is None and (found := _unnamed(known, variables)):
        return _of_profile(found, variables, comes_first=False)
    checked = checked_url(given or DEFAULT_URL, "--url" if url else "HAULIER_URL")
    mine = next((each for each in _in_order(known, variables) if same(each.url, checked)), None)
    if mine is None:
        hint = "" if given else NONE_CHOSEN
        return Chosen(checked, lambda: _checked(variables.get("HAULIER_API_KEY"), "HAULIER_API_KEY"), hint=hint)
    return _of_profile(mine, variables, comes_first=False)


def _unnamed(known: Profiles, variables: Mapping[str, str]) -> Profile | None:
    name = variables.get("HAULIER_PROFILE") or known.default
    return None if name is None else known.named(name)


def _in_order(known: Profiles, variables: Mapping[str, str]) -> list[Profile]:
    """Return all profiles, the one of the environment and the default first: several may have the same URL."""
    first = (variables.get("HAULIER_PROFILE"), known.default)
    names = [name for name in first if name in known.by_name]
    return [*(known.by_name[name] for name in names if name), *known.by_name.values()]


def _of_profile(profile: Profile, variables: Mapping[str, str], *, comes_first: bool) -> Chosen:
    """Return its service: whoever names a profile by a flag means its key, and not that of the environment."""
    given = variables.get("HAULIER_API_KEY")
    has_key = profile.key is not None or profile.key_command is not None
    url = checked_url(profile.url, f"the profile {profile.name}")
    if given is not None and not (comes_first and has_key):
        return Chosen(url, lambda: _checked(given, "HAULIER_API_KEY"), profile.name, profile.confirm)
    runs_command = profile.key_command is not None
    return Chosen(url, lambda: key_of(profile), profile.name, profile.confirm, runs_command)


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
        raise CommandError(f"{where}: {BAD_KEY}", Code.NO_KEY)
    return key


def checked_url(given: str, where: str) -> str:
    """Return the URL without what follows its path. Raises: CommandError, which does not quote it."""
    try:
        return check_url(given, where)
    except ValueError as error:
        raise CommandError(str(error), Code.USAGE) from None
