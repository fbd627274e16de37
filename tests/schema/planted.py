"""What somebody who may CREATE in `public` can lay in the way of every name that our SQL does not qualify.

Derived from the texts and the server's catalogue: for each function, operator, type and relation of pg_catalog whose
name is in the texts there is one of that name in `public`, for the same types and for others, which may fit a call
better. Whoever is tricked into one of them fails with its message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from psycopg2 import Error
from psycopg2.extensions import connection as Connection

ROOT = Path(__file__).parents[2]
TEXTS = sorted((ROOT / "haulier").rglob("*.sql"))
MESSAGE = "planted by somebody else"

ANYARRAY = 2277
RAISE = f"LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION '{MESSAGE}: {{}}'; END $$"

FUNCTIONS = """
    SELECT proname, coalesce(proargnames[1:pronargs], '{}'), proargtypes::oid[], prorettype::regtype::text, proretset,
        provariadic, pronargdefaults
    FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%s)
"""
OPERATORS = """
    SELECT DISTINCT ON (oprname, oprleft, oprright) oprname, oprleft, oprright, oprresult::regtype::text
    FROM pg_operator
    WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprname = ANY(%s) AND oprleft <> 0
"""


def words() -> set[str]:
    """Return every word of the texts, comments left out."""
    return set(re.findall(r"[a-z_][a-z0-9_]*", _text()))


def _text() -> str:
    return "\n".join(re.sub(r"--.*", "", path.read_text(encoding="utf-8")) for path in TEXTS)


def plant(conn: Connection) -> dict[str, int]:
    """Lay all of it in the way, as the connection's role; return how many of each sort."""
    with conn.cursor() as cursor:
        cursor.execute("SET search_path = pg_catalog")
        types = _types(conn)
        laid = {
            "functions": _run(conn, _functions(conn, types)),
            "operators": _run(conn, _operators(conn, types)),
            "relations": _run(conn, _relations(conn)),
            "types": _run(conn, _domains(conn)),
        }
        cursor.execute("RESET search_path")
    return laid


def _run(conn: Connection, statements: Iterable[str]) -> int:
    done = 0
    with conn.cursor() as cursor:
        for statement in statements:
            try:
                cursor.execute(statement)
            except Error:
                # Not every signature may be: polymorphic ones, for one.
                continue
            done += 1
    return done


def _ask(conn: Connection, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with conn.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def _types(conn: Connection) -> dict[int, str]:
    """Return the types that the texts name, those of numbers, and arrays of the commonest."""
    found = _ask(
        conn,
        "SELECT oid, oid::regtype::text FROM pg_type"
        " WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typcategory <> 'A'"
        "   AND typname = ANY(%s)"
        " UNION ALL SELECT typarray, typarray::regtype::text FROM pg_type"
        "   WHERE typname IN ('text', 'uuid', 'int4', 'timestamptz')",
        # These have other names in SQL.
        [*words(), "int2", "int4", "int8", "float8", "numeric", "bool"],
    )
    return dict(found)


def _functions(conn: Connection, types: dict[int, str]) -> Iterator[str]:
    called = sorted(set(re.findall(r"\b([a-z_][a-z0-9_]*)\s*\(", _text().lower())))
    every = dict(_ask(conn, "SELECT oid, oid::regtype::text FROM pg_type"))
    for name, names, given, returned, is_set, variadic, defaults in _ask(conn, FUNCTIONS, called):
        own = [every[oid] for oid in given]
        others = [[*own[:place], each, *own[place + 1 :]] for place in range(len(own)) for each in types.values()]
        returns = f"SETOF {returned}" if is_set else returned
        for arguments in [own, *others]:
            if names:
                # Also for calls by name, in which some may be missing.
                arguments = [f'"{word}" {each}' for word, each in zip(names, arguments, strict=True)]
            if variadic:
                arguments = [*arguments[:-1], f"VARIADIC {arguments[-1]}"]
            given_up = len(arguments) - defaults
            arguments = [each if place < given_up else f"{each} DEFAULT NULL" for place, each in enumerate(arguments)]
            yield f'CREATE FUNCTION public."{name}"({", ".join(arguments)}) RETURNS {returns} {RAISE.format(name)}'


def _operators(conn: Connection, types: dict[int, str]) -> Iterator[str]:
    # LIKE and BETWEEN are operators too.
    signs = sorted(set(re.findall(r"[-+*/<>=~!@#%^&|?]+", _text())) | {"~~", "!~~", "<=", ">="})
    results: dict[str, dict[tuple[int, int], str]] = {}
    for sign, left, right, result in _ask(conn, OPERATORS, signs):
        results.setdefault(sign, {})[left, right] = result
    number = 0
    for sign, known in results.items():
        of_arrays = known.get((ANYARRAY, ANYARRAY))
        for left, left_type in types.items():
            for right, right_type in types.items():
                usual = next((result for (each, _), result in known.items() if each == left), of_arrays)
                result = known.get((left, right), usual)
                if result is None:
                    continue
                number += 1
                raising = RAISE.format(f"operator {sign}".replace("%", "%%"))
                yield (
                    f"CREATE FUNCTION public.operator_{number}({left_type}, {right_type}) RETURNS {result} {raising};"
                    f" CREATE OPERATOR public.{sign}"
                    f" (LEFTARG = {left_type}, RIGHTARG = {right_type}, FUNCTION = public.operator_{number})"
                )


def _relations(conn: Connection) -> Iterator[str]:
    found = _ask(
        conn,
        "SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relname = ANY(%s)",
        sorted(words()),
    )
    yield f"CREATE FUNCTION public.relation() RETURNS boolean {RAISE.format('relation')}"
    for (name,) in found:
        yield f"CREATE VIEW public.{name} AS SELECT * FROM pg_catalog.{name} WHERE public.relation()"
        yield f"GRANT SELECT ON public.{name} TO PUBLIC"


def _domains(conn: Connection) -> Iterator[str]:
    found = _ask(
        conn,
        "SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b'"
        " AND typname = ANY(%s)",
        sorted(words()),
    )
    yield f"CREATE FUNCTION public.of_a_type() RETURNS boolean {RAISE.format('type')}"
    for (name,) in found:
        yield f'CREATE DOMAIN public."{name}" AS pg_catalog."{name}" CHECK (public.of_a_type())'
