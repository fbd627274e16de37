"""docs/own-repository.md works from the wheel to the upgrade, in a repository as the reader of the page has it."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.conftest import eventually
from tests.docs import shell
from tests.docs.reading import Block, blocks_of
from tests.installed.environments import Environment, run, running, version_of, web_environ
from tests.web import answers

PAGE = "docs/own-repository.md"


@dataclass(frozen=True)
class Reader:
    """A reader of the page, in a shell of theirs. `url` is where their API is."""

    folder: Path
    url: str
    environ: dict[str, str]

    def types(self, block: Block) -> str:
        """Return what the commands of a block print."""
        return shell.run(block.text, self.url, self.folder, **self.environ)

    def has_built(self, wheel: Path) -> None:
        """Have this build, and no other, if `make dist` puts it."""
        dist = self.folder.parent / "haulier" / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir(parents=True)
        shutil.copy(wheel, dist)

    @contextmanager
    def leaves_running(self, block: Block) -> Iterator[None]:
        """Run the command of a block, which stays in the foreground, until left."""
        words = shlex.split(block.text)
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        program, *arguments = [word for word in words if "=" not in word]
        command = [str(shutil.which(program, path=self.environ["PATH"])), *arguments]
        with running(command, self.folder, {**self.environ, **settings}, self.folder.parent / "run.log"):
            eventually(lambda: answers(self.url))
            yield


@pytest.fixture
def reader(pip: Path, two_wheels: tuple[Path, Path], fresh_database: str, tmp_path: Path) -> Reader:
    """Give a reader beside whose repository the first wheel was built."""
    # Of this test's own, because the page ends with another version in it.
    environment = Environment(tmp_path / "environment", pip, with_ours=True)
    folder = tmp_path / "shop"
    folder.mkdir()
    environment.add_pip()
    url, environ = web_environ(fresh_database, tmp_path)
    environ |= {
        "PATH": f"{Path(environment.python).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    reader = Reader(folder, url, environ)
    reader.has_built(two_wheels[0])
    return reader


@pytest.mark.direct("is about what is installed, and not about the way to the database")
def test_every_step_of_the_page_works(reader: Reader, two_wheels: tuple[Path, Path]) -> None:
    said: dict[str, str] = {}
    steps = [block for block in blocks_of(PAGE) if not block.not_run]
    foreground = next(block for block in steps if block.text.endswith("haulier run\n"))
    place = steps.index(foreground)
    upgrade = next(block for block in steps if block.text.startswith("rm vendor/"))

    for block in steps[:place]:
        _take(reader, block, said)
    with reader.leaves_running(foreground):
        for block in steps[place + 1 :]:
            if block == upgrade:
                reader.has_built(two_wheels[1])
            _take(reader, block, said)
        key = said["haulier keys create --name shop --scopes enqueue,read"].strip()
        job = eventually(lambda: _ended(reader.url, key))

    assert key.startswith("hlr_")
    assert job["result"] == {"total": 11}
    assert (reader.folder / "requirements.txt").read_text() == f"./vendor/{two_wheels[1].name}[server]\n"
    assert "2 passed" in said["python -m pytest test_kinds.py"]
    # pip has not kept the first build.
    assert run(["python", "-c", "import haulier; print(haulier.CHANGE)"], reader.folder, reader.environ)
    assert f"haulier {version_of(two_wheels[1])}\n" in said["pip install -r requirements.txt"]
    assert "nothing to do" in said["pip install -r requirements.txt"]


def _take(reader: Reader, block: Block, said: dict[str, str]) -> None:
    if block.file == "Procfile":
        assert (reader.folder / "Procfile").read_text() == block.text
    elif block.file:
        path = reader.folder / block.file
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text)
    else:
        said[block.text.splitlines()[0]] = reader.types(block)


def _ended(url: str, key: str) -> dict | None:
    jobs = requests.get(f"{url}/jobs?kind=invoice", headers={"Authorization": f"Bearer {key}"}, timeout=10).json()
    return next((job for job in jobs if job["finished_at"]), None)
