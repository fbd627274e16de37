"""cells.toml: it ..."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulier.cells.cells_toml import Cell, Cells, read_cells
from haulier.domain.errors import ConfigError

ONE = 'default = 1\n[[cell]]\nnumber = 1\nservers = ["10.0.1.10:8080"]\n'
TWO = f'{ONE}[[cell]]\nnumber = 2\nservers = ["10.0.2.10:8080"]\n'
KEY, OTHER = "abcdefghij12", "zzzzzzzzzz99"
# What would be configuration of nginx, or a secret, if somebody wrote it into a value.
INJECTED = ("a:1; return 200", "a:1}", "$host:1", 'a":1', "a:1\n", "a b:1", "a\\:1", "unix:/s", "user@a:1", "é:1")


def read(folder: Path, text: str) -> Cells:
    path = folder / "cells.toml"
    path.write_text(text, encoding="utf-8")
    return read_cells(path)


def refusal(folder: Path, text: str) -> str:
    """Return why the file is refused, without its path; "" if it is accepted."""
    try:
        read(folder, text)
    except ConfigError as error:
        return str(error).removeprefix(f"{folder / 'cells.toml'}").removeprefix(": ")
    return ""


def test_reads_the_cells_by_their_numbers(tmp_path):
    found = read(
        tmp_path,
        f"""
        default = 1
        [[cell]]
        number = 255
        servers = ["cell-255.internal:80", "[2001:db8::1]:8080"]
        keys = ["{KEY}", "{OTHER}"]
        [[cell]]
        number = 1
        servers = ["10.0.1.10:8080"]
        dashboard = "https://cell-1.example.com/jobs/"
        """,
    )

    assert found.default == 1
    assert found.cells == (
        Cell(1, ("10.0.1.10:8080",), "https://cell-1.example.com/jobs/"),
        Cell(255, ("cell-255.internal:80", "[2001:db8::1]:8080"), None, (KEY, OTHER)),
    )


def test_refuses_a_file_with_the_field_that_is_wrong(tmp_path):
    two_keys = f'keys = ["{KEY}"]\n[[cell]]\nnumber = 2\nservers = ["10.0.2.10:8080"]\nkeys = ["{KEY}"]\n'
    expected = {
        "": "cell: must be one table",
        "default = 1": "cell: must be one table",
        "default = 1\ncell = [1]": "cell: must be one table",
        ONE.replace("default = 1\n", ""): "default: must be a whole number from 1 to 255",
        ONE.replace("default = 1\n", "default = 2\n"): "default: there is no [[cell]] with number = 2",
        f"defaults = 1\n{ONE}": "'defaults' is unknown; known are default, cell",
        f"{ONE}key = []": "cell 1: 'key' is unknown; known are number, servers, dashboard, keys",
        f"{ONE}keys = '{KEY}'": "cell 1: keys: must be a list",
        f"{ONE}keys = ['{KEY}', 'short']": "cell 1: keys: the entry at place 2 must be the id of an API key",
        f"{ONE}keys = ['{KEY}', '{KEY}']": f"cell 1: keys: {KEY} is twice",
        f"{ONE}{two_keys}": f"cell 2: keys: {KEY} is in cell 1 too",
        TWO.replace("10.0.2.10", "10.0.1.10"): "cell 2: servers: 10.0.1.10:8080 is in cell 1 too",
        TWO.replace("number = 2", "number = 1"): "cell 1: two tables [[cell]] have this number",
        ONE.replace('["10.0.1.10:8080"]', "[]"): "cell 1: servers: must name at least one",
        ONE.replace('servers = ["10.0.1.10:8080"]', ""): "cell 1: servers: must be a list",
        "x = [": "is not TOML in UTF-8",
    }
    for number in ("0", "256", "-1", "true", '"1"', "1.0"):
        expected[ONE.replace("number = 1", f"number = {number}")] = "[[cell]] 1: number: must be a whole number from"
    for server in ("10.0.1.10", "10.0.1.10:0", "10.0.1.10:65536", ":80", "10.0.1:80", "[::1:80", "[1.2.3.4.5]:80"):
        expected[ONE.replace("10.0.1.10:8080", server)] = "cell 1: servers: the entry at place 1 must be host:port"
    for url in (
        "cell-1",
        "ftp://a",
        "javascript:alert(1)",
        "https://u:p@a",
        "https://a?b",
        "https://a/#b",
        "https://a:0",
    ):
        expected[f'{ONE}dashboard = "{url}"'] = "cell 1: dashboard: must be a URL such as"

    told = {text: refusal(tmp_path, text) for text in expected}

    assert {text: why for text, why in told.items() if not why or expected[text] not in why} == {}


@pytest.mark.parametrize("field", ["servers", "dashboard", "keys"])
def test_refuses_what_a_program_could_read_as_configuration(tmp_path, field):
    values = {"servers": INJECTED, "keys": INJECTED, "dashboard": [f"https://{text}" for text in INJECTED]}[field]
    lines = {text: f"'''{text}'''" if field == "dashboard" else f"['''{text}''']" for text in values}
    begun = ONE.replace('servers = ["10.0.1.10:8080"]\n', "") if field == "servers" else ONE

    accepted = [text for text, line in lines.items() if not refusal(tmp_path, f"{begun}{field} = {line}")]

    assert accepted == []


def test_does_not_quote_a_key_that_was_pasted_whole(tmp_path):
    token = f"hlr_{KEY}_{'s' * 43}"

    told = [refusal(tmp_path, f'{ONE}{field} = ["{token}"]') for field in ("keys", "dashboard")]
    told.append(refusal(tmp_path, ONE.replace("10.0.1.10:8080", token)))

    assert all(told)
    assert [why for why in told if "sss" in why] == []


def test_refuses_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot read .*: No such file"):
        read_cells(tmp_path / "absent.toml")
    assert "is longer than" in refusal(tmp_path, "#" * 5_000_000)
    # Its reading takes a minute, and the page of all cells reads the file again and again.
    assert "a key has more than 80 parts" in refusal(tmp_path, "a." * 50_000 + "a = 1")
    (tmp_path / "cells.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not TOML in UTF-8"):
        read_cells(tmp_path / "cells.toml")
