"""The map of the worker in haulier/worker/__init__.py: it ..."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import haulier.worker

ROOT = Path(haulier.worker.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MAP = haulier.worker.__doc__ or ""
STARTERS = {"Thread": "name", "ThreadPoolExecutor": "thread_name_prefix"}


def drawn() -> dict[str, set[str]]:
    """Return each room of the map, the house itself under '', and what is named in it."""
    rooms: dict[str, set[str]] = {"": set()}
    room = ""
    for line in MAP.splitlines()[1:]:
        if named := re.match(r"(\w+)/ ", line):
            room = named[1]
            rooms[room] = set()
        elif named := re.match(r"( *)(\w+)  +\S", line):
            rooms[room if named[1] else ""].add(named[2])
    return rooms


def there() -> dict[str, set[str]]:
    """Return each room of the house, and its modules."""
    rooms: dict[str, set[str]] = {}
    for path in FILES:
        if path.stem != "__init__":
            rooms.setdefault("" if path.parent == ROOT else path.parent.name, set()).add(path.stem)
    return rooms


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path, node


def thread_classes() -> dict[str, str]:
    """Return each class that is a thread, and the file that has it."""
    return {
        node.name: str(path.relative_to(ROOT))
        for path, node in nodes()
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Thread") for base in node.bases)
    }


def started_by_name() -> list[str]:
    """Return the name of each thread that is made of a function."""
    names = []
    for _, node in nodes():
        if isinstance(node, ast.Call) and (maker := ast.unparse(node.func).split(".")[-1]) in STARTERS:
            arguments = [word.value for word in node.keywords if word.arg == STARTERS[maker]] or node.args[1:2]
            names += [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
    return names


def test_names_every_module_in_its_room_and_none_that_is_not_there():
    assert drawn() == there()


def test_has_a_file_for_every_thread():
    classes = thread_classes()

    assert {name.lower(): f"threads/{name.lower()}.py" for name in classes} == {
        name.lower(): file for name, file in classes.items()
    }
    assert {name.lower() for name in classes} == drawn()["threads"]


def test_names_every_thread_that_is_made_of_a_function():
    names = started_by_name()

    assert [name for name in names if not re.search(rf"\b{re.escape(name)}\b", MAP)] == []
    # It sees them at all.
    assert set(names) == {"guest", "lifeline", "metrics", "control", "teller"}


def test_leads_from_claim_to_settle_through_six_files():
    [way] = re.findall(r"from claim to settle goes by (.+)\.", MAP)
    files = re.split(r", | and ", way)

    assert len(files) == 6
    assert set(files) <= set().union(*there().values())
