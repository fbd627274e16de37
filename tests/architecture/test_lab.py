"""The lab stands beside the house: its parts import neither each other nor the tests, and nothing imports it. It ..."""

from __future__ import annotations

import re

from tests.architecture.reading import LAB, NAMES, circles, module_of, named, named_of, offenders

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


def test_the_lab_takes_nothing_private_of_the_product():
    def private(name: str) -> set[str]:
        return {each for each in named_of(name, {"haulier", "app"}) if re.search(r"\._(?!_)", each)}

    assert offenders(LAB, private) == {}


def test_the_product_imports_neither_the_lab_nor_the_tests():
    assert offenders(NAMES, lambda name: named_of(name, {"lab", "tests"})) == {}


def test_no_modules_of_the_lab_import_each_other_in_a_circle():
    modules = {module_of(name).removesuffix(".__init__"): name for name in LAB}

    assert circles({module: (named(name) & modules.keys()) - {module} for module, name in modules.items()}) == {}


def test_the_tests_above_see_every_part_of_the_lab_and_real_imports():
    assert {part_of(name) for name in LAB} == SHUT_TO_LAB.keys()
    assert named("lab/bench/measures/latency.py") >= {"lab.bench.notes", "lab.servers", "lab.bench.tables.PageTable"}
    assert named("lab/chaos/stage.py") >= {"lab.proxy.Proxy", "lab.descendants.children", "haulier.local.guard"}
