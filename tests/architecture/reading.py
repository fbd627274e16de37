"""Reading the code as the tests of its plan need it: its files, its rooms, and what each imports."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("haulier/**/*.py"), *ROOT.glob("app/**/*.py"), *ROOT.glob("*.py")])
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
# Tests and the lab, which are held to the length of files alone.
TESTS_AND_LAB = [
    str(path.relative_to(ROOT)) for path in sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("lab/**/*.py")])
]
QUEUE = {
    "queue",
    "queue.access",
    "queue.claims",
    "queue.failures",
    "queue.health",
    "queue.jobs",
    "queue.numbers",
    "queue.operations",
    "queue.queues",
    "queue.schedules",
    "queue.search",
    "queue.stories",
    "queue.upkeep",
}


def module_of(name: str) -> str:
    """Return the file's module, of a package with its __init__."""
    return ".".join(Path(name).with_suffix("").parts)


def room_of(name: str) -> str:
    """Return the folder of a file in a package, or the file where it stands by itself beside those."""
    if "/" not in name:
        return name
    package, *rest = module_of(name).split(".")
    room = ".".join(rest[:-1]) or rest[0]
    if package == "haulier":
        return room
    return "app" if room == "__init__" else f"app.{room}"


def offenders(names: Iterable[str], check: Callable[[str], Collection[Any]]) -> dict[str, Collection[Any]]:
    """Return what the check objects to in each file, without the files to which it objects nothing."""
    return {name: objections for name in names if (objections := check(name))}


@cache
def parse(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(node: ast.AST, importer: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yield each imported module's full name, those for type checkers alone aside; importer is its own."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, child
        elif isinstance(child, ast.ImportFrom):
            module = imported_from(child, importer)
            named = {f"{module}.{alias.name}" for alias in child.names}
            for found in named & OURS.keys() or {module}:
                yield found, child
            if named - OURS.keys():
                yield module, child
        else:
            yield from imports(child, importer)


def imported_from(node: ast.ImportFrom, importer: str) -> str:
    around = importer.split(".")[: -node.level] if node.level else []
    return ".".join([*around, *([node.module] if node.module else [])])


# Each module of ours by its full name, a package by that of its __init__, and its file.
OURS = {module_of(name).removesuffix(".__init__"): name for name in NAMES}


def rooms_imported(name: str) -> set[str]:
    return {room_of(OURS[module]) for module, _ in imports(parse(name), module_of(name)) if module in OURS}


def circles(imported: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the modules that import each other in a circle, and those that lead to one."""
    # What imports nothing that is left falls away.
    while free := {module for module, found in imported.items() if not found & imported.keys()}:
        imported = {module: found for module, found in imported.items() if module not in free}
    return {module: found & imported.keys() for module, found in imported.items()}


# The lab: experiments with what is above, which nothing above knows of.
LAB = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("lab/**/*.py")) if "node_modules" not in path.parts]


def named(name: str) -> set[str]:
    """Return each module that a file imports, also for type checkers alone, and each thing that it takes from one."""
    found = set()
    for node in ast.walk(parse(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = imported_from(node, module_of(name))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def named_of(name: str, packages: set[str]) -> set[str]:
    """Return what a file imports of these packages."""
    return {each for each in named(name) if any(f"{each}.".startswith(f"{package}.") for package in packages)}
