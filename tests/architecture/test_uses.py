"""Who uses what: the queue is there for the product, the lab stands beside it, and each test by itself. It ..."""

from __future__ import annotations

import ast
import re

from tests.architecture.reading import (
    LAB,
    NAMES,
    OURS,
    QUEUE,
    ROOT,
    TESTS_AND_LAB,
    module_of,
    named,
    named_of,
    offenders,
    parse,
    room_of,
)
from tests.architecture.uses import public_functions, users
from tests.patience import PATIENCE

# An import of something of the tests, with its names. Not by ast: to parse all of them takes 2 s.
IMPORT = re.compile(r"^ *(?:from|import) tests\b[\w.]*(?: import (?:\([^)]*\)|.+))?", re.MULTILINE)


def test_the_product_uses_every_public_function_of_the_queue():
    of_the_queue = [module for module, name in OURS.items() if room_of(name) in QUEUE]
    offered = [f"{module}.{name}" for module in of_the_queue for name in public_functions(module)]

    assert len(offered) > 150
    assert [name for name in offered if not users(name)] == []


# --- Files of tests


def test_no_file_of_tests_imports_from_another():
    imports = {name: IMPORT.findall((ROOT / name).read_text(encoding="utf-8")) for name in TESTS_AND_LAB}

    assert sum(map(len, imports.values())) > 500
    assert offenders(imports, lambda name: [each for each in imports[name] if re.search(r"\btest_", each)]) == {}


def test_no_test_waits_too_briefly_for_a_busy_machine():
    def short(name: str) -> list[str]:
        return [
            f"line {node.lineno}: within={each.value.value}"
            for node in ast.walk(parse(name))
            if isinstance(node, ast.Call)
            for each in node.keywords
            if each.arg == "within" and ast.unparse(node.func) in ("eventually", "finished")
            # One that is a promise has a name.
            if isinstance(each.value, ast.Constant) and each.value.value < PATIENCE
        ]

    waiting = [name for name in TESTS_AND_LAB if "within=" in (ROOT / name).read_text(encoding="utf-8")]
    assert offenders([name for name in waiting if name.startswith("tests/")], short) == {}


# --- The lab


# What bench and chaos both need stands beside them, and so does what the tests need as well.
SHUT_TO_LAB = {
    "lab.bench": {"tests", "lab.chaos"},
    "lab.chaos": {"tests", "lab.bench"},
    "lab": {"tests", "lab.bench", "lab.chaos"},
}


def part_of(name: str) -> str:
    """Return whether a file of the lab is one of bench, of chaos, or of both."""
    return next(part for part in SHUT_TO_LAB if module_of(name).startswith(f"{part}."))


def test_the_lab_imports_no_tests_and_its_parts_not_each_other():
    assert offenders(LAB, lambda name: named_of(name, SHUT_TO_LAB[part_of(name)])) == {}


def test_the_product_imports_neither_the_lab_nor_the_tests():
    assert offenders(NAMES, lambda name: named_of(name, {"lab", "tests"})) == {}


def test_the_tests_above_see_every_part_of_the_lab_and_real_imports():
    assert {part_of(name) for name in LAB} == SHUT_TO_LAB.keys()
    assert named("lab/bench/measures/latency.py") >= {"lab.bench.notes", "lab.servers", "lab.bench.tables.PageTable"}
    assert named("lab/chaos/stage.py") >= {"lab.proxy.Proxy", "lab.descendants.children", "haulier.local.guard"}
