"""The map of the worker in haulier/worker/__init__.py: it ..."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import haulier.worker

ROOT = Path(haulier.worker.__file__).parent
MAP = haulier.worker.__doc__ or ""
STARTERS = {"Thread": "name", "ThreadPoolExecutor": "thread_name_prefix"}


def rooms_of_the_map() -> dict[str, set[str]]:
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


def test_names_every_module_in_its_room_and_every_thread():
    rooms: dict[str, set[str]] = {}
    thread_files, started = {}, set()
    for path in ROOT.rglob("*.py"):
        if path.stem != "__init__":
            rooms.setdefault("" if path.parent == ROOT else path.parent.name, set()).add(path.stem)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Thread") for base in node.bases):
                thread_files[node.name.lower()] = str(path.relative_to(ROOT))
            # A thread that is made of a function.
            if isinstance(node, ast.Call) and (maker := ast.unparse(node.func).split(".")[-1]) in STARTERS:
                names = [word.value for word in node.keywords if word.arg == STARTERS[maker]] or node.args[1:2]
                started |= {name.value for name in names if isinstance(name, ast.Constant)}

    assert rooms_of_the_map() == rooms
    assert thread_files == {name: f"threads/{name}.py" for name in rooms["threads"]}
    assert [name for name in started if not re.search(rf"\b{re.escape(name)}\b", MAP)] == []
    assert started == {"guest", "lifeline", "metrics", "control", "teller"}
    [way] = re.findall(r"from claim to settle goes by (.+)\.", MAP)
    assert set(re.split(r", | and ", way)) <= set().union(*rooms.values())
