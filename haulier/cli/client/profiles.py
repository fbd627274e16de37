"""The profiles of $XDG_CONFIG_HOME/haulier/config.toml: the services that a person uses, and the keys to them."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.client.files import folder_in, replace

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Others who may read the file learn the key; others who may write it can make key_command run anything.
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Profile:
    """A service that somebody uses."""

    name: str
    url: str
    key: str | None = field(default=None, repr=False)
    key_command: str | None = None
    confirm: bool = False


@dataclass(frozen=True, slots=True)
class Profiles:
    """The file. `default` is a name, which need not be a profile's."""

    path: Path
    text: str = field(default="", repr=False)
    by_name: Mapping[str, Profile] = field(default_factory=dict)
    default: str | None = None

    def named(self, name: str) -> Profile:
        """Return the profile. Raises: CommandError."""
        if name not in self.by_name:
            known = f"there are {', '.join(self.by_name)}" if self.by_name else "there is none"
            raise CommandError(f"there is no profile {name} in {self.path}: {known}", Code.USAGE)
        return self.by_name[name]


def path_in(variables: Mapping[str, str]) -> Path:
    """Return where the file is, which need not be there."""
    return folder_in(variables, "XDG_CONFIG_HOME", ".config") / "config.toml"


def read(path: Path) -> Profiles:
    """Return the profiles of the file; none if it is not there. Raises: CommandError."""
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            text = file.read().decode()
        return _parsed(path, text)
    except FileNotFoundError:
        return Profiles(path)
    # Without the parser's words: it quotes the line, which may hold the key.
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise CommandError(f"{path} is not TOML in UTF-8", Code.USAGE) from None
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", Code.USAGE) from None


def _check_private(path: Path, found: os.stat_result) -> None:
    if found.st_mode & OTHERS:
        raise CommandError(f"{path} holds keys, but other users may read or write it: run chmod 600 {path}", Code.USAGE)
    if found.st_uid not in (os.geteuid(), 0):
        raise CommandError(f"{path} belongs to another user", Code.USAGE)


def _parsed(path: Path, text: str) -> Profiles:
    data = tomllib.loads(text)
    default, tables = data.get("default"), data.get("profiles", {})
    if not isinstance(tables, dict) or not isinstance(default, str | None):
        raise CommandError(f"{path}: default must be a name, and profiles a table", Code.USAGE)
    return Profiles(path, text, {name: _profile(path, name, table) for name, table in tables.items()}, default)


def _profile(path: Path, name: str, table: Any) -> Profile:
    where = f"{path}: the profile {name}"
    types = {"url": str, "key": str, "key_command": str, "confirm": bool}
    if not isinstance(table, dict) or "url" not in table or not NAME.fullmatch(name):
        raise CommandError(f"{where} needs a url and a name made of letters, digits, _ and -", Code.USAGE)
    for field_name, value in table.items():
        if field_name not in types:
            raise CommandError(f"{where} has an unknown field {field_name}; known are {', '.join(types)}", Code.USAGE)
        if not isinstance(value, types[field_name]):
            raise CommandError(f"{where}: {field_name} must be a {types[field_name].__name__}", Code.USAGE)
    if "key" in table and "key_command" in table:
        raise CommandError(f"{where} has both a key and a key_command: remove one", Code.USAGE)
    return Profile(name, **table)


def write(profiles: Profiles, profile: Profile, *, is_default: bool) -> None:
    """Add the profile to the file, or replace the profile of the same name; all else stays as it is."""
    text = _with_default(profiles.text, profile.name) if is_default else profiles.text
    before, after = _around(text, profile.name)
    if before and not before.endswith("\n"):
        before += "\n"
    _store(profiles, before + _toml(profile) + after, {**profiles.by_name, profile.name: profile})


def remove(profiles: Profiles, name: str) -> None:
    """Take the profile out of the file."""
    text = _with_default(profiles.text, None) if profiles.default == name else profiles.text
    kept = {each: profile for each, profile in profiles.by_name.items() if each != name}
    _store(profiles, "".join(_around(text, name)), kept)


def _toml(profile: Profile) -> str:
    values = {"url": profile.url, "key": profile.key, "key_command": profile.key_command}
    lines = [f"{name} = {_string(value)}\n" for name, value in values.items() if value is not None]
    confirm = ["confirm = true\n"] if profile.confirm else []
    return "".join([f"[profiles.{profile.name}]\n", *lines, *confirm])


def _string(value: str) -> str:
    escaped = "".join(f"\\u{ord(each):04x}" if ord(each) < 32 or each in '"\\\x7f' else each for each in value)
    return f'"{escaped}"'


def _around(text: str, name: str) -> tuple[str, str]:
    """Return what stands before the profile's table and what after it."""
    heads = list(re.finditer(r"^[ \t]*\[[^\n]*$\n?", text, re.MULTILINE))
    ours = re.compile(rf'[ \t]*\[[ \t]*profiles[ \t]*\.[ \t]*(["\']?){re.escape(name)}\1[ \t]*\][ \t]*(#.*)?\n?')
    for place, head in enumerate(heads):
        if ours.fullmatch(head[0]):
            following = heads[place + 1].start() if place + 1 < len(heads) else len(text)
            return text[: head.start()], text[following:]
    return text, ""


def _with_default(text: str, name: str | None) -> str:
    line = "" if name is None else f"default = {_string(name)}\n"
    return line + re.sub(r"^[ \t]*default[ \t]*=[^\n]*\n?", "", text, count=1, flags=re.MULTILINE)


def _store(profiles: Profiles, text: str, expected: Mapping[str, Profile]) -> None:
    """Replace the file by the text, if it says what is expected: it was made without a parser of comments."""
    path = profiles.path
    try:
        is_right = dict(_parsed(path, text).by_name) == dict(expected)
    except (CommandError, tomllib.TOMLDecodeError):
        is_right = False
    if not is_right:
        raise CommandError(f"cannot change {path} because its format is unusual: edit it by hand", Code.USAGE)
    replace(path, text)
