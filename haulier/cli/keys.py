"""`haulier keys`: make, list, rotate and revoke API keys.

In the database, if anybody who has DATABASE_URL may do so; or over HTTP, for which a key with the scope admin is
needed.
"""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from haulier.cli.commands import api_keys
from haulier.cli.connect import on_database
from haulier.cli.parts.invocation import ClientGroup, Invocation, command, pass_invocation
from haulier.cli.parts.param_type import ParamType
from haulier.cli.server import require
from haulier.cli.terminal.output import Column, Terminal
from haulier.cli.terminal.visible import visible
from haulier.domain.api_key import MAX_DAYS, MAX_HOURS, MAX_RATE, MIN_DAYS, MIN_RATE, NAME_OF_KEY, ApiKey, Scope
from haulier.domain.job import NAME_PATTERN

if TYPE_CHECKING:
    from haulier.postgres.statements import Connection

# The actor, as the audit names it.
ACTOR = "cli"


class _Words(ParamType[frozenset[str]]):
    """Words, divided by commas or spaces. `pattern` is of each word; said what a word may be."""

    name = "words"

    def __init__(self, pattern: str, said: str) -> None:
        self.pattern, self.said = pattern, said

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[str]:
        """Return the words. Raises: click.BadParameter."""
        words = [word for word in re.split(r"[,\s]+", value) if word]
        if not words:
            self.fail("must not be empty", param, ctx)
        if not all(re.fullmatch(self.pattern, word) for word in words):
            self.fail(self.said, param, ctx)
        return frozenset(words)


class _Number(ParamType[float]):
    """A number between two others."""

    name = "number"

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number. Raises: click.BadParameter."""
        given = str(value)
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", given) and self.least <= float(given) <= self.most:
            return float(given)
        return self.fail(f"must be a number from {self.least:g} to {self.most:g}", param, ctx)


def _named(_: click.Context, __: click.Parameter, given: str) -> str:
    if not re.fullmatch(NAME_OF_KEY, given):
        raise click.BadParameter("must be 1 to 100 characters on one line")
    return given


SCOPES = _Words("|".join(Scope), f"must be one or more of {', '.join(Scope)}")
QUEUES = _Words(NAME_PATTERN, "must be names of queues, separated by commas")
RATE, DAYS, HOURS = _Number(MIN_RATE, MAX_RATE), _Number(MIN_DAYS, MAX_DAYS), _Number(0, MAX_HOURS)


@click.group("keys", cls=ClientGroup)
def keys() -> None:
    """Create, list, rotate and revoke API keys."""


EXAMPLE = "haulier keys create --name shop --scopes enqueue,read --queues mail --days 90"


@command("create", example=EXAMPLE)
@click.option("--name", required=True, callback=_named, help="A name that says who uses the key.")
@click.option(
    "--scopes", required=True, type=SCOPES, help=f"Scopes, separated by commas: {','.join(Scope)} (admin: all)."
)
@click.option("--queues", type=QUEUES, help="Queues that the key may use, separated by commas; all by default.")
@click.option("--rate", type=RATE, help="Requests per second; no limit by default.")
@click.option("--days", type=DAYS, help="Days until the key expires; never by default.")
@pass_invocation
def create(invocation: Invocation, /, **asked: Any) -> None:
    """Create an API key. It is printed once and is not stored."""
    if _is_on_database(invocation):
        on_database("keys", lambda conn: _create(conn, asked))
    else:
        api_keys.create(invocation, asked)


@command("list", example="haulier keys list")
@pass_invocation
def list_keys(invocation: Invocation) -> None:
    """List all API keys, without their secrets."""
    if _is_on_database(invocation):
        on_database("keys", lambda conn: _list(conn, invocation.terminal))
    else:
        api_keys.show_all(invocation)


@command("rotate", example="haulier keys rotate k3xq0v9a2b7c --hours 1")
@click.argument("key_id", metavar="ID")
@click.option(
    "--hours", type=HOURS, default=24.0, show_default=True, help="Hours for which the old secret stays valid."
)
@pass_invocation
def rotate(invocation: Invocation, key_id: str, hours: float) -> None:
    """Give an API key a new secret. The old one stays valid for a while."""
    if _is_on_database(invocation):
        on_database("keys", lambda conn: _rotate(conn, key_id, hours))
    else:
        api_keys.rotate(invocation, key_id, hours)


@command("revoke", example="haulier keys revoke k3xq0v9a2b7c")
@click.argument("key_id", metavar="ID")
@pass_invocation
def revoke(invocation: Invocation, key_id: str) -> None:
    """Revoke an API key. All web processes refuse it within 5 s."""
    if _is_on_database(invocation):
        on_database("keys", lambda conn: _revoke(conn, key_id))
    else:
        api_keys.revoke(invocation, key_id)


for each in (create, list_keys, rotate, revoke):
    keys.add_command(each)


def _is_on_database(invocation: Invocation) -> bool:
    """Return whether DATABASE_URL is meant. Raises: ConfigError if the server's packages are missing."""
    if not invocation.is_on_database:
        return False
    require(click.get_current_context().command_path)
    if invocation.terminal.as_json:
        raise click.UsageError("--json needs --url or --profile if DATABASE_URL is set")
    return True


def _create(conn: Connection, asked: dict[str, Any]) -> None:
    from haulier.queue.access import api_keys as stored

    lifetime = None if asked["days"] is None else timedelta(days=asked["days"])
    scopes = frozenset(Scope(word) for word in asked["scopes"])
    new = stored.NewKey(asked["name"], scopes, queues=asked["queues"], rate_limit=asked["rate"], lifetime=lifetime)
    key, token = stored.create(conn, new, actor=ACTOR)
    # To stderr: a program that reads the key from stdout gets nothing else.
    print(f"created the API key {key.id}, which is shown only this once:", file=sys.stderr)
    print(token)


def _list(conn: Connection, terminal: Terminal) -> None:
    from haulier.queue.access import api_keys as stored

    terminal.table([Column(name.lower()) for name in api_keys.NAMES], map(_row, stored.list_keys(conn)))


def _row(key: ApiKey) -> tuple[str, ...]:
    return (
        key.id,
        key.name,
        ",".join(scope for scope in Scope if scope in key.scopes),
        "all" if key.queues is None else ",".join(sorted(key.queues)),
        "-" if key.rate_limit is None else f"{key.rate_limit:g}/s",
        _shown(key.created_at),
        _shown(key.last_used_at),
        _state(key),
    )


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {_shown(key.revoked_at)}"
    state = "good" if key.expires_at is None else f"until {_shown(key.expires_at)}"
    state += f", moved to cell {key.moved_to}" if key.moved_to else ""
    return state if key.rotated_until is None else f"{state}, its old secret until {_shown(key.rotated_until)}"


def _shown(instant: datetime | None) -> str:
    return "-" if instant is None else instant.strftime("%Y-%m-%d %H:%M")


def _rotate(conn: Connection, key_id: str, hours: float) -> None:
    from haulier.queue.access import api_keys as stored

    token = stored.rotate(conn, key_id, overlap=timedelta(hours=hours), actor=ACTOR)
    print(
        f"the API key {key_id} has a new secret, which is shown only this once; the old one stays valid for"
        f" {hours:g} h:",
        file=sys.stderr,
    )
    print(token)


def _revoke(conn: Connection, key_id: str) -> None:
    from haulier.queue.access import api_keys as stored

    key = stored.revoke(conn, key_id, actor=ACTOR)
    print(visible(f"revoked the API key {key.id} ({key.name})"))
