"""The files of haulier/schema, from which schema.sql and grants.sql are built: it ..."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator

from tests.architecture.reading import ROOT

SPEC = importlib.util.spec_from_file_location("schema", ROOT / "tools" / "schema.py")
assert SPEC is not None
assert SPEC.loader is not None
schema = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(schema)

# A function, with the comment above it and the clauses before its body.
FUNCTION = re.compile(
    r"(?P<above>(?:^-- [^\n]+\n)*)^CREATE OR REPLACE FUNCTION haulier\.(?P<name>\w+)(?P<head>.*?)(?:^AS |^RETURN )",
    re.MULTILINE | re.DOTALL,
)


def functions() -> Iterator[tuple[str, re.Match[str]]]:
    """Yield each function, with the file that has it."""
    for path in schema.parts():
        for found in FUNCTION.finditer(path.read_text(encoding="utf-8")):
            yield str(path.relative_to(schema.PARTS)), found


def test_builds_both_files_from_their_parts() -> None:
    present = {name: (ROOT / name).read_text(encoding="utf-8") for name in schema.built()}

    assert present == schema.built(), "run `make schema`"
    assert {*schema.PARTS.rglob("*.sql")} == {*schema.parts(), schema.PARTS / "grants.sql"}


def test_says_why_there_is_each_function() -> None:
    found = {match["name"]: match["above"] for _, match in functions()}

    assert len(found) > 20
    assert [name for name, above in found.items() if not above] == []


def test_grants_rights_by_functions_of_one_folder() -> None:
    as_owner = {match["name"]: name for name, match in functions() if "SECURITY DEFINER" in match["head"]}
    triggers = {match["name"] for _, match in functions() if "RETURNS trigger" in match["head"]}

    assert {name for name, file in as_owner.items() if not file.startswith("rights/")} <= triggers
