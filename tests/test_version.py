"""The version of the program, wherever its sources are. It ..."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from haulier.version import team_release, version_of
from tests.repositories import ENVIRON, ROOT, Repository

PLATFORMS = ("RENDER_GIT_COMMIT", "GIT_REV", "HEROKU_SLUG_COMMIT")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Give a repository without a commit, of which a build would take the version as it does of ours."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    return Repository(folder)


@pytest.fixture(autouse=True)
def no_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a platform says of the commit that it runs these tests on."""
    for name in PLATFORMS:
        monkeypatch.delenv(name, raising=False)


def built(folder: Path) -> str:
    """Return the version that a build in this folder gets, by setuptools-scm."""
    command = [sys.executable, "-m", "setuptools_scm"]
    done = subprocess.run(command, cwd=folder, env=ENVIRON, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_names_the_commit_and_sorts_as_commits_follow_each_other(repository):
    expected, found = [], []
    for tag, name in (
        (None, "1.0.0.dev1+g{}"),
        ("nightly-7", "1.0.0.dev2+g{}"),
        ("v1.0.0", "1.0.0"),
        (None, "1.0.1.dev1+g{}"),
        (None, "1.0.1.dev2+g{}"),
        ("v1.1.0rc1", "1.1.0rc1"),
        (None, "1.1.0rc2.dev1+g{}"),
        ("v1.1.0", "1.1.0"),
        ("v1.1.9", "1.1.9"),
        (None, "1.1.10.dev1+g{}"),
    ):
        expected.append(name.format(repository.commit()))
        if tag is not None:
            repository.git("tag", "--annotate", tag, "--message", tag)
        found.append((version_of(repository.folder), built(repository.folder)))

    assert found == [(each, each) for each in expected]
    assert sorted(expected, key=Version) == expected


def test_is_in_a_git_archive_what_it_is_in_the_repository(repository, tmp_path):
    commit = repository.commit()
    untagged = repository.archive(tmp_path / "untagged")
    repository.git("tag", "v1.0.0")
    tagged = repository.archive(tmp_path / "tagged")
    following = f"1.0.1.dev1+g{repository.commit()}"
    later = repository.archive(tmp_path / "later")

    # How many commits there are is not written into an archive.
    assert version_of(untagged) == f"1.0.0.dev0+g{commit}"
    assert [version_of(tagged), version_of(later)] == [built(tagged), built(later)] == ["1.0.0", following]


def test_names_the_commit_of_the_platform_that_removed_the_repository(tmp_path, monkeypatch):
    for name in PLATFORMS:
        for value, version in (("", "unknown"), ("main", "unknown"), (COMMIT, "g012345678")):
            monkeypatch.setenv(name, value)
            assert version_of(tmp_path) == f"1.0.0.dev0+{version}"
            # So the team's release is called, unless it is named.
            assert (team_release(None), team_release("shop 7")) == (COMMIT[:9] if value == COMMIT else None, "shop 7")
        monkeypatch.delenv(name)


def test_believes_the_build_and_not_the_repository_around_it(repository):
    repository.commit()
    about = "Metadata-Version: 2.4\nName: {}\nVersion: {}\n\nName: haulier\nVersion: 9\n"
    (repository.folder / "PKG-INFO").write_text(about.format("shop", "7.0"))
    in_a_shop = version_of(repository.folder)
    (repository.folder / "PKG-INFO").write_text(about.format("haulier", "2.0"))
    unpacked = version_of(repository.folder)
    installed = repository.folder / "haulier-2.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(about.format("haulier", "2.1"))

    assert (in_a_shop[:10], unpacked, version_of(repository.folder)) == ("1.0.0.dev1", "2.0", "2.1")


def test_says_unknown_if_git_is_broken_or_missing(repository, tmp_path, monkeypatch):
    without_commits = version_of(repository.folder)
    repository.commit()
    monkeypatch.setenv("PATH", str(tmp_path))

    assert without_commits == version_of(repository.folder) == "1.0.0.dev0+unknown"


def test_asks_git_when_it_is_shown_and_only_once(tmp_path):
    git, calls = tmp_path / "git", tmp_path / "calls"
    git.write_text(f"#!/bin/sh\necho called >> {calls}\necho v1.2.3-0-g012345678\n")
    git.chmod(0o755)
    (tmp_path / ".git").mkdir()
    for name in ("haulier", "app", "worker.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    program = (
        "import app.site, worker, haulier.cli.root, haulier.cli.job_commands.jobs\n"
        "import haulier.worker.assembly, haulier.worker.isolation.run, haulier.kinds.included.resize_image\n"
        f"import os; print(os.path.exists({str(calls)!r}))\n"
        "from haulier.version import version; print(version(), version())\n"
    )

    command, environ = [sys.executable, "-c", program], {"PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.stderr) == ("False\n1.2.3 1.2.3\n", "")
    assert calls.read_text() == "called\n"
