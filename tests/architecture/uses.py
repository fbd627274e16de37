"""Where the product uses its own functions and classes: each name is followed through the imports."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.architecture.reading import NAMES, OURS, imported_from, module_of, parse


class Place(NamedTuple):
    """Where something is used. `owner` is the function or class at the top of the module; "" outside of these."""

    module: str
    owner: str


@cache
def named_at_the_top(module: str) -> set[str]:
    """Return what a module defines, assigns or imports at its top."""
    found = set(_imported(module))
    for node in parse(OURS[module]).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return found


def public_functions(module: str) -> list[str]:
    """Return the public functions at the top of a module."""
    body = parse(OURS[module]).body
    return [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def methods(module: str) -> set[str]:
    """Return the methods of the classes of a module."""
    classes = [node for node in parse(OURS[module]).body if isinstance(node, ast.ClassDef)]
    return {node.name for each in classes for node in each.body if isinstance(node, ast.FunctionDef)}


@cache
def full_name(module: str, name: str) -> str:
    """Return the full name of what a module has under this name, be it its own or imported."""
    imported = _imported(module).get(name, "") if module in OURS else ""
    source, _, there = imported.rpartition(".")
    return full_name(source, there) if source in OURS and source != module else imported or f"{module}.{name}"


def users(name: str) -> set[Place]:
    """Return where the product uses a function or a class, by its full name, except in its own body."""
    module, _, own = name.rpartition(".")
    return _uses()[name] - {Place(module, own)}


@cache
def attributes() -> set[str]:
    """Return each name that stands behind a dot in the product."""
    nodes = (node for name in NAMES for node in ast.walk(parse(name)))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@cache
def _uses() -> defaultdict[str, set[Place]]:
    found = defaultdict[str, set[Place]](set)
    for module, name in OURS.items():
        known = {each: full_name(module, each) for each in named_at_the_top(module)}
        for statement in parse(name).body:
            for used in _used(statement, known):
                found[used].add(Place(module, getattr(statement, "name", "")))
    return found


def _used(node: ast.AST, known: dict[str, str]) -> Iterator[str]:
    """Yield the full name of each thing that a statement uses. An import is no use."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name | ast.Attribute) and (name := _resolved(each, known)):
            yield name


def _resolved(node: ast.expr, known: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return known.get(node.id) if isinstance(node.ctx, ast.Load) else None
    owner = _resolved(node.value, known) if isinstance(node, ast.Attribute) else None
    return full_name(owner, node.attr) if owner and isinstance(node, ast.Attribute) else None


@cache
def _imported(module: str) -> dict[str, str]:
    """Return from where a module imports each thing, by the name that it has there."""
    found: dict[str, str] = {}
    for node in ast.walk(parse(OURS[module])):
        if isinstance(node, ast.Import):
            found |= {each.asname: each.name for each in node.names if each.asname}
            found |= {top: top for each in node.names if not each.asname and (top := each.name.partition(".")[0])}
        elif isinstance(node, ast.ImportFrom):
            source = imported_from(node, module_of(OURS[module]))
            found |= {each.asname or each.name: f"{source}.{each.name}" for each in node.names}
    return found
