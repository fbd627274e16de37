"""`haulier init` in a repository that has files of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulier.cli.init import init, requirement

OURS = [".env", ".venv/", "var/", "__pycache__/"]
RELEASE, WEB, WORKER = "release: haulier migrate", "web: exec haulier web", "worker: exec haulier worker"


@pytest.fixture
def begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Give a function that runs the command beside these files, and returns what it prints."""

    def begin(**files: bytes) -> str:
        for name, content in files.items():
            (tmp_path / (f".{name}" if name == "gitignore" else name)).write_bytes(content)
        init.main([str(tmp_path)], standalone_mode=False)
        return capsys.readouterr().out

    return begin


def test_adds_what_an_ignore_file_lacks_in_its_own_line_ending(begin, tmp_path):
    cases = {
        b"": b".env\n.venv/\nvar/\n__pycache__/\n",
        b"*.log\n": b"*.log\n.env\n.venv/\nvar/\n__pycache__/\n",
        b"/var\n.env\n__pycache__": b"/var\n.env\n__pycache__\n.venv/\n",
        b"*.log\r\n.venv": b"*.log\r\n.venv\r\n.env\r\nvar/\r\n__pycache__/\r\n",
        b"\xff\n.env/ \nvar\n.venv\n__pycache__\n": b"\xff\n.env/ \nvar\n.venv\n__pycache__\n",
        b"!.env\n# var/\n.venv\n__pycache__\n": b"!.env\n# var/\n.venv\n__pycache__\n.env\nvar/\n",
    }
    for before, after in cases.items():
        begin(gitignore=before)
        said = begin()

        assert (tmp_path / ".gitignore").read_bytes() == after
        assert f"left   {tmp_path}/.gitignore\n" in said


def test_prints_each_line_that_a_team_has_to_add_by_itself(begin, tmp_path):
    cases: dict[bytes, list[str]] = {
        b"release: haulier migrate\nweb: exec haulier web\nworker: python -m haulier worker": [],
        b"release: ./manage migrate && haulier migrate\r\nweb: exec haulier all\r\n": [],
        b"# worker: haulier worker\nclock: python clock.py\n": ["Add to Procfile:", RELEASE, WEB, WORKER],
        b"web: gunicorn shop.wsgi\n": ["Add to Procfile:", RELEASE, WORKER],
        b"release: ./manage migrate\nworker: celery -A shop worker\nweb: haulier web\n": [
            *("Add to Procfile:", "haulier-worker: exec haulier worker"),
            *("In Procfile, change `release` to:", "release: ./manage migrate && haulier migrate"),
        ],
    }
    for procfile, lines in cases.items():
        said = begin(Procfile=procfile, **{"requirements.txt": b"haulier[server]==1.0.0\n"})

        before, own_web, _ = said.partition("\nThe process `web` of Procfile is your own")
        advice = before.partition("\n\n")[2].partition("The next three steps")[0]
        assert [line for line in advice.splitlines() if line] == lines
        assert bool(own_web) == (b"shop.wsgi" in procfile)
        assert (tmp_path / "Procfile").read_bytes() == procfile


def test_prints_its_requirement_unless_that_is_there(begin):
    line = f"\nAdd to requirements.txt:\n{requirement('server')}\n"

    assert line in begin(**{"requirements.txt": b"django==5.1\n# haulier: soon"})
    assert line not in begin(**{"requirements.txt": b"./vendor/haulier-1.0.0.whl[server]\n"})
