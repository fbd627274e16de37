"""Reading .sql files: it ..."""

from __future__ import annotations

import pytest

from haulier.postgres.sql_files import load


def test_load_leaves_comments_out_and_keeps_the_rest():
    one = "-- name: one\n-- why 100 % of {these}\nSELECT 1 -- and this\n    AS x;\n"
    text = f"-- heading\n\n{one}\n-- name: two\nSELECT 2;\n"

    statements, _ = load([text])

    assert statements == {"one": "SELECT 1\n    AS x;", "two": "SELECT 2;"}


def test_load_fills_in_the_parts_that_several_have_in_common():
    parts, uses = "-- part: mine\n-- why\na = 1\nAND b = 2\n", "-- name: one\nSELECT 1 WHERE <<mine>> AND c;"

    statements, _ = load([uses, parts])

    assert statements == {"one": "SELECT 1 WHERE a = 1\nAND b = 2 AND c;"}


def test_load_refuses_a_name_that_stands_twice_and_a_part_that_is_not_there():
    one = "-- name: one\nSELECT 1;"

    with pytest.raises(ValueError, match="one stands twice"):
        load([one, one])
    with pytest.raises(KeyError, match="mine"):
        load(["-- name: one\nSELECT <<mine>>;"])
