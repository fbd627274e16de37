"""`haulier login`, `logout` and `profiles`: which services somebody uses, and with which keys."""

from __future__ import annotations

import sys
from contextlib import closing
from urllib.parse import urlsplit

import click

from haulier.cli.client import profiles as files
from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.client.profiles import NAME, Profile, Profiles
from haulier.cli.client.service import checked_url
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.terminal.output import Column
from haulier.client.api import Api
from haulier.client.service import BAD_KEY, KEY, Service


@command("login", example="pass show haulier/local | haulier login --url http://127.0.0.1:8080 --profile local")
@click.option("--default", "becomes_default", is_flag=True, help="Make this the default profile.")
@click.option("--confirm", is_flag=True, help="Require that deletions are confirmed by typing the host of the URL.")
@pass_invocation
def login(invocation: Invocation, becomes_default: bool, confirm: bool) -> None:
    """Check an API key and save it in a profile.

    Type the key when asked, or pipe it to stdin. It is not an option because other users of the machine can see those.
    The profile is named after the host of the URL, or by --profile. The first profile is the default.
    """
    terminal = invocation.terminal
    known = files.read(files.path_in(invocation.variables))
    url, name = _what(invocation, known)
    service = Service(url, lambda: key)
    if service.is_plain:
        terminal.warn(f"{url} is not encrypted: others on the network can read the key")
    key = _asked_key(service)
    # Every key may do this.
    with closing(Api(service, note=terminal.note)) as api:
        api.get("/kinds")
    before = known.by_name.get(name)
    keeps = confirm or (before is not None and before.confirm)
    is_default = becomes_default or known.default is None or known.default not in known.by_name
    files.write(known, Profile(name, url, key=key, confirm=keeps), is_default=is_default)
    said = "; it is the default" if is_default or known.default == name else ""
    terminal.note(f"saved the profile {name} in {known.path}{said}")


def _what(invocation: Invocation, known: Profiles) -> tuple[str, str]:
    """Return the URL and the name of the profile. Raises: CommandError."""
    given, name = invocation.given.get("url"), invocation.given.get("profile")
    if given is None and name is not None and name in known.by_name:
        given = known.by_name[name].url
    given = given or invocation.variables.get("HAULIER_URL")
    if given is None:
        raise CommandError("login: give the URL of the service, such as --url https://jobs.example.com", Code.USAGE)
    url = checked_url(given, "--url")
    name = name or (urlsplit(url).hostname or "").replace(".", "-").replace(":", "-")
    if not NAME.fullmatch(name):
        raise CommandError(f"--profile: {name} must be 1 to 64 letters, digits, _ and -", Code.USAGE)
    return url, name


def _asked_key(service: Service) -> str:
    if sys.stdin.isatty():
        given = click.prompt(f"API key of {service.host}", hide_input=True, err=True)
    else:
        given = sys.stdin.readline()
    key = str(given).strip()
    if not KEY.fullmatch(key):
        raise CommandError(f"the key {BAD_KEY}", Code.USAGE)
    return key


@command("logout", example="haulier logout --profile local")
@pass_invocation
def logout(invocation: Invocation) -> None:
    """Delete a profile and its key from this machine.

    It deletes the profile given by --profile, or the default one. The key itself stays valid: end it with `haulier
    keys revoke`.
    """
    known = files.read(files.path_in(invocation.variables))
    name = invocation.given.get("profile") or invocation.variables.get("HAULIER_PROFILE") or known.default
    if name is None:
        raise CommandError("logout: there is no default profile: give --profile", Code.USAGE)
    known.named(name)
    files.remove(known, name)
    invocation.terminal.note(f"deleted the profile {name} from {known.path}")


@command("profiles", example="haulier profiles")
@pass_invocation
def profiles(invocation: Invocation) -> None:
    """List the profiles."""
    known = files.read(files.path_in(invocation.variables))
    terminal = invocation.terminal

    def table(rows: list[dict[str, object]]) -> None:
        columns = [Column(name) for name in ("PROFILE", "URL", "KEY", "CONFIRMS", "DEFAULT")]
        terminal.table(columns, [[_cell(value) for value in row.values()] for row in rows])

    terminal.show_each([_row(known, each) for each in known.by_name.values()], table)


def _row(known: Profiles, profile: Profile) -> dict[str, object]:
    key = "command" if profile.key_command else "file" if profile.key else None
    is_default = known.default == profile.name
    return {"name": profile.name, "url": profile.url, "key": key, "confirm": profile.confirm, "default": is_default}


def _cell(value: object) -> str:
    words = {True: "yes", False: "–", None: "none"}
    return str(value) if isinstance(value, str) else words[value]  # type: ignore[index]
