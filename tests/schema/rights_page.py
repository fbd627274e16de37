"""The tables of docs/database.md that say what each role can do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.docs.reading import blocks, section

ALL = ["all of them"]
VERBS = {"read": "SELECT", "insert": "INSERT", "update": "UPDATE", "delete": "DELETE"}
ROLES = ("web", "worker", "application")
Rights = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Callable:
    """Functions that programs may call. By are roles; writes are the tables that they write together."""

    names: tuple[str, ...]
    by: frozenset[str]
    needs_web_makes_keys: bool
    is_as_caller: bool
    writes: frozenset[str]


def _rows(head: str) -> list[list[str]]:
    """Return the rows of the table with this first heading, as cells."""
    text = section("docs/database.md", "### What each role can do")
    [table] = re.findall(rf"^\| {head} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]


def _rights_of(cell: str, web: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the sorted columns for each verb of a cell such as "read; update `at`; insert as web"."""
    rights = {}
    for part in (part.strip() for part in cell.split(";") if part.strip()):
        verb = VERBS[part.split(" ")[0]]
        rights[verb] = web[verb] if part.endswith(" as web") else sorted(re.findall(r"`(\w+)`", part)) or ALL
    return rights


def _granted_to_an_application() -> Rights:
    """Return the rights to tables that the page's SQL grants to an application."""
    [sql] = [block for block in blocks("docs/database.md", "sql") if "CREATE ROLE" in block]
    rights: Rights = {}
    for verb, columns, table in re.findall(r"^GRANT (\w+) \((.+)\) ON haulier\.(\w+) TO ", sql, flags=re.MULTILINE):
        rights.setdefault(table, {})[verb] = sorted(columns.split(", "))
    return rights


def tables() -> dict[str, Rights]:
    """Return for each role, and each table to which it has any right, the columns for each verb."""
    rights: dict[str, Rights] = {"web": {}, "worker": {}, "application": _granted_to_an_application()}
    for names, *cells in _rows("table"):
        web = _rights_of(cells[0], {})
        worker = _rights_of(cells[1], web)
        for name in re.findall(r"`(\w+)`", names):
            for role, its in (("web", web), ("worker", worker)):
                if its:
                    rights[role][name] = its
    return rights


def functions() -> dict[str, Callable]:
    """Return the functions that anybody but the owner may call, by name."""
    called: dict[str, Callable] = {}
    for names, by, writes, bounds in _rows("function"):
        roles = re.findall(r"\b(?:web|worker|application)\b", by)
        listed = tuple(re.findall(r"`(\w+)`", names))
        written = frozenset(re.findall(r"`(\w+)`", writes))
        called |= dict.fromkeys(
            listed, Callable(listed, frozenset(roles), "web_makes_keys" in by, "the caller's rights" in bounds, written)
        )
    return called


def functions_of(role: str, *, web_makes_keys: bool = False) -> set[str]:
    """Return the names of the functions that this role may call."""
    return {
        name for name, row in functions().items() if role in row.by and (web_makes_keys or not row.needs_web_makes_keys)
    }
