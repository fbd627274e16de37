"""Each file of tests stands by itself, so that one can be moved or left out without another. It ..."""

from __future__ import annotations

from tests.architecture.reading import TESTS_AND_LAB, named_of


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
    }
    assert {name: found for name, found in of_tests.items() if found} == {}
