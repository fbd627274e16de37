"""`python -m haulier keys`: make, list, rotate and revoke API keys. Anybody who has DATABASE_URL may do so."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from haulier.cli.database import on_database
from haulier.domain.api_key import MAX_DAYS, MAX_HOURS, MAX_RATE, MIN_DAYS, MIN_RATE, NAME_OF_KEY, ApiKey, Scope
from haulier.domain.job import NAME_PATTERN

if TYPE_CHECKING:
    from haulier.postgres.statements import Connection

# The actor, as the audit names it.
ACTOR = "cli"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser of `python -m haulier`."""
    parser = commands.add_parser("keys", help="make, list, rotate and revoke API keys")
    acts = parser.add_subparsers(dest="act_name", required=True)

    create = acts.add_parser("create", help="make a key; the key itself is printed once, and kept nowhere")
    create.add_argument("--name", required=True, type=_name, help="whose it is, for people")
    create.add_argument(
        "--scopes", required=True, type=_scopes, help=f"what it may do: some of {','.join(Scope)} (admin: all)"
    )
    create.add_argument("--queues", type=_queues, help="the queues whose jobs it may touch; every one unless told")
    create.add_argument("--rate", type=_rate, help="how many requests a second it may make; any number unless told")
    create.add_argument("--days", type=_days, help="for how long it is good; for ever unless told")
    create.set_defaults(start=on_database(_create))

    listing = acts.add_parser("list", help="show every key, but for its secret")
    listing.set_defaults(start=on_database(_list))

    rotate = acts.add_parser("rotate", help="give a key a new secret; the old one is good for a while longer")
    rotate.add_argument("id")
    rotate.add_argument("--hours", type=_hours, default=24.0, help="for how long the old one is good (24)")
    rotate.set_defaults(start=on_database(_rotate))

    revoke = acts.add_parser("revoke", help="end a key for good, within 5 s")
    revoke.add_argument("id")
    revoke.set_defaults(start=on_database(_revoke))


def _create(conn: Connection, args: argparse.Namespace) -> None:
    from haulier.queue.access import api_keys

    lifetime = None if args.days is None else timedelta(days=args.days)
    asked = api_keys.NewKey(args.name, args.scopes, queues=args.queues, rate_limit=args.rate, lifetime=lifetime)
    key, token = api_keys.create(conn, asked, actor=ACTOR)
    # To stderr: a program that reads the key from stdout gets nothing else.
    print(f"made the API key {key.id}; it is shown this once:", file=sys.stderr)
    print(token)


def _list(conn: Connection, args: argparse.Namespace) -> None:
    from haulier.queue.access import api_keys

    table: list[tuple[str, ...]] = [("id", "name", "scopes", "queues", "rate", "created", "last used", "state")]
    table += [_row(key) for key in api_keys.list_keys(conn)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


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
    return state if key.rotated_until is None else f"{state}, its old secret until {_shown(key.rotated_until)}"


def _shown(instant: datetime | None) -> str:
    return "-" if instant is None else instant.strftime("%Y-%m-%d %H:%M")


def _rotate(conn: Connection, args: argparse.Namespace) -> None:
    from haulier.queue.access import api_keys

    token = api_keys.rotate(conn, args.id, overlap=timedelta(hours=args.hours), actor=ACTOR)
    print(f"the API key {args.id} has a new secret, shown this once; the old: {args.hours:g} h more", file=sys.stderr)
    print(token)


def _revoke(conn: Connection, args: argparse.Namespace) -> None:
    from haulier.queue.access import api_keys

    key = api_keys.revoke(conn, args.id, actor=ACTOR)
    print(f"revoked the API key {key.id} ({key.name})")


def _name(given: str) -> str:
    if not re.fullmatch(NAME_OF_KEY, given):
        raise argparse.ArgumentTypeError("must be 1 to 100 characters on one line")
    return given


def _scopes(given: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(word) for word in _words(given))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be some of {', '.join(Scope)}") from None


def _queues(given: str) -> frozenset[str]:
    queues = frozenset(_words(given))
    if not all(re.fullmatch(NAME_PATTERN, queue) for queue in queues):
        raise argparse.ArgumentTypeError("must be names of queues, divided by commas")
    return queues


def _words(given: str) -> list[str]:
    words = [word for word in re.split(r"[,\s]+", given) if word]
    if not words:
        raise argparse.ArgumentTypeError("must not be empty")
    return words


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(given: str) -> float:
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", given) and least <= float(given) <= most:
            return float(given)
        raise argparse.ArgumentTypeError(f"must be a number from {least:g} to {most:g}")

    return read


_rate = _number(MIN_RATE, MAX_RATE)
_days = _number(MIN_DAYS, MAX_DAYS)
_hours = _number(0, MAX_HOURS)
