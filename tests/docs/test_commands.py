"""The commands of the documentation work: curl, make, the kind of the README, and what troubleshooting quotes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from haulier.local.supervisor import local_session
from tests.conftest import eventually
from tests.docs import shell
from tests.docs.reading import (
    PAGES,
    ROOT,
    Call,
    blocks,
    blocks_of,
    calls,
    names_in,
    section,
    tables,
    text_of,
    without_blocks,
)
from tests.docs.stack import haulier


def test_the_readmes_kind_is_the_tested_one_in_twelve_lines() -> None:
    [shown] = blocks("README.md", "python")
    tested = (ROOT / "tests" / "kinds" / "example_kind.py").read_text(encoding="utf-8")

    assert len(shown.splitlines()) <= 12
    assert [line for line in shown.splitlines() if line] == [line for line in tested.splitlines() if line]


def test_curl_commands_work(database: str, tmp_path: Path) -> None:
    [kind] = blocks("README.md", "python")
    (tmp_path / "example_kind.py").write_text(kind, encoding="utf-8")
    found = [call for page in ("README.md", "docs/kinds.md", "docs/api.md") for call in calls(page)]
    assert len(found) > 2

    with haulier(database, PYTHONPATH=str(tmp_path), HAULIER_KINDS="example_kind") as url, local_session() as session:
        for call in found:
            response = _send(session, url, call)
            expected = call.status is None and response.ok or response.status_code == call.status
            assert expected, f"{call} answered {response.status_code} {response.text}"


def test_the_quickstart_runs_as_its_reader_types_it(database: str, tmp_path: Path) -> None:
    [kind] = blocks("README.md", "python")
    (tmp_path / "greet.py").write_text(kind, encoding="utf-8")
    steps = [block.text for block in blocks_of("docs/quickstart.md") if block.language == "sh" and not block.not_run]

    with haulier(database, PYTHONPATH=str(tmp_path), HAULIER_KINDS="greet") as url, local_session() as session:
        shell.run("".join(steps), url, tmp_path)

        def ended() -> dict[str, dict[str, Any]]:
            jobs = session.get(f"{url}/jobs?kind=greet", timeout=5).json()
            return {job["payload"]["name"]: job for job in jobs if job["finished_at"]}

        greeted = eventually(lambda: ended() if len(ended()) == 2 else None)
    assert greeted["Ann"]["result"] == {"greeting": "Hello, Ann!"}
    assert greeted["nobody"]["status"] == "failed_permanent"
    assert greeted["nobody"]["last_error"] == "there is nobody to greet"


def _send(session: Any, url: str, call: Call) -> Any:
    body = None if call.body is None else call.body.encode()
    return session.request(call.method, url + call.path, headers=call.headers, data=body, timeout=10)


def _make_targets(page: Path) -> set[str]:
    """Return the targets of make that the page names in its code."""
    text = page.read_text(encoding="utf-8")
    written = [
        *re.findall(r"`[^`]*`", without_blocks(text)),
        *re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL),
    ]
    return {target for code in written for target in re.findall(r"\bmake ([a-z][a-z-]*)", code)}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))

    assert {page.name: unknown for page in PAGES if (unknown := _make_targets(page) - targets)} == {}
    assert {"demo", "test", "run"} <= _make_targets(ROOT / "README.md")


# In the words of Postgres, which a message of the program's ends with.
OF_POSTGRES = {
    "no pg_hba.conf entry",
    "permission denied",
    "remaining connection slots are reserved",
    "too many connections",
}


@pytest.fixture(scope="module")
def source() -> str:
    """Give the program's text. Strings that go on in the next line are joined."""
    folders = ("tools", "haulier", "app")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in files))


def _pieces(quoted: str) -> list[str]:
    return [piece.strip(" ,:") for piece in quoted.split("…")]


def test_what_troubleshooting_quotes_is_what_the_program_says(source: str) -> None:
    rows = tables(section("docs/watch.md", "## Troubleshooting"))

    quoted = [piece for row in rows if row[0].startswith("`") for name in names_in(row[0]) for piece in _pieces(name)]

    assert len(quoted) > 20
    assert [piece for piece in quoted if piece not in source] == []


def test_what_a_job_that_waits_is_said_to_show_is_what_the_program_says(source: str) -> None:
    rows = [row for row in tables(text_of("docs/why-waiting.md")) if len(row) == 3]
    said = [name for row in rows for name in names_in(f"{row[0]} {row[1]}") if name.count(" ") > 1]

    quoted = [piece for name in said if name not in OF_POSTGRES for piece in _pieces(name)]

    assert len(rows) > 30
    assert len(quoted) > 12
    assert [piece for piece in quoted if piece not in source] == []
