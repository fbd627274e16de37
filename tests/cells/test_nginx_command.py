"""`haulier cells nginx`: it ..."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.api.batch import MAX_BATCH_BYTES
from app.http.gunicorn.inbox import HEAD_BYTES
from app.http.routes import BODY_BYTES
from haulier.cli.root import root
from tests.click_runner import Runner
from tests.docs.reading import blocks_of, text_of

[FILE] = [block.text for block in blocks_of("docs/cells.md") if block.file == "cells.toml"]
UNITS = {"k": 1024, "m": 1024 * 1024, "s": 1}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cells.toml"
    path.write_text(FILE)
    return path


def printed(*args: str) -> str:
    done = Runner({}).invoke(root, ["cells", "nginx", *args], catch_exceptions=False)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def test_prints_the_maps_and_servers_of_the_file(file: Path) -> None:
    text = printed()

    assert text == printed(str(file))
    for line in (
        "default haulier_cell_1;",
        "first haulier_cell_1;",
        "01 haulier_cell_1;",
        "02 haulier_cell_2;",
        "k3v9x0q2m7ab haulier_cell_2;",
        "upstream haulier_cell_1 { server 10.0.1.10:8080 fail_timeout=2s; keepalive 32; }",
    ):
        assert text.count(f"{line}\n") == 1, line
    assert re.search(r"haulier_cell_2 \{ server 10\.0\.2\.10:8080 .*; server 10\.0\.2\.11:8080 .*;", text)
    assert "%" not in text


def test_prints_the_limits_of_the_api(file: Path) -> None:
    def of(name: str) -> list[int]:
        values = re.findall(rf"^ *{name} (?:\d+ )?(\d+)([kms]);", printed(), re.MULTILINE)
        return [int(number) * UNITS[unit] for number, unit in values]

    # Not imported: it reads the environment, and ends a process without a DATABASE_URL.
    settings = text_of("app/gunicorn_settings.py")
    [line, field] = re.findall(r"^limit_request_line, .* = (\d+), \d+, (\d+)$", settings, re.MULTILINE)[0]

    assert of("client_max_body_size") == [BODY_BYTES, MAX_BATCH_BYTES]
    assert f"\nkeepalive = {of('keepalive_timeout')[0]}\n" in settings
    [buffer] = of("large_client_header_buffers")
    # Longer, so that the API sees what is too long for it.
    assert buffer > max(int(line), int(field))
    assert 8 * buffer > HEAD_BYTES
    assert [size for size in (BODY_BYTES, MAX_BATCH_BYTES) if str(size) not in printed()] == []


def test_refuses_a_faulty_file_in_a_line_and_prints_nothing(file: Path) -> None:
    file.write_text(FILE.replace("number = 2", "number = 1"))

    done = Runner({}).invoke(root, ["cells", "nginx"], catch_exceptions=False)

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "haulier: cells.toml: cell 1: two tables [[cell]] have this number\n"
