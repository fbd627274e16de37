"""Each file of tests stands by itself, so that one can be moved or left out without another. It ..."""

from __future__ import annotations

import ast

from tests.architecture.reading import TESTS_AND_LAB, named_of, offenders, parse
from tests.patience import PATIENCE


def test_no_file_of_tests_imports_from_another():
    taken = {name: named_of(name, {"tests"}) for name in TESTS_AND_LAB}

    of_tests = {
        name: {each for each in found if any(part.startswith("test_") for part in each.split("."))}
        for name, found in taken.items()
    }

    assert taken["tests/architecture/test_tests.py"] == {
        "tests.architecture.reading",
        "tests.architecture.reading.TESTS_AND_LAB",
        "tests.architecture.reading.named_of",
        "tests.architecture.reading.offenders",
        "tests.architecture.reading.parse",
        "tests.patience",
        "tests.patience.PATIENCE",
    }
    assert {name: found for name, found in of_tests.items() if found} == {}


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

    assert offenders([name for name in TESTS_AND_LAB if name.startswith("tests/")], short) == {}
