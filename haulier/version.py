"""The version of this program: the one it was built with, or in a checkout the one of its commit."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from haulier.config import deployed_commit

# The version that commits before the first tag lead to. pyproject.toml has it too, for builds.
FIRST = "1.0.0"
# What installs Haulier: a line of a requirements file, for `haulier init` and for messages. A team keeps the wheel that
# `make dist` builds in vendor/. Once releases are published, the owner puts their place here, for example
# "haulier{extras} @ https://example.com/haulier-{version}-py3-none-any.whl".
WHEEL = "./vendor/haulier-{version}-py3-none-any.whl{extras}"
# setuptools-scm writes this many digits of a commit.
DIGITS = 9
GIT_SECONDS = 5.0


@cache
def version() -> str:
    """Return the version of the running program, such as 1.0.0 or 1.0.1.dev3+g0123abcde.

    In a checkout the first call of a process asks git, which takes 10 ms. So nothing calls this on import.
    """
    return version_of(Path(__file__).parents[1])


def team_release(named: str | None) -> str | None:
    """Return the release of the team's program: as RELEASE names it, or the commit that the platform has deployed."""
    return named or (deployed_commit() or "")[:DIGITS] or None


def requirement(*extras: str) -> str:
    """Return the line of a requirements file that installs this version with these extras."""
    return WHEEL.format(version=version(), extras=f"[{','.join(extras)}]" if extras else "")


def version_of(folder: Path) -> str:
    """Return the version of the program that is installed in this folder, or whose sources are there.

    A build or an archive says which it is. git comes after them, because somebody else's repository may contain it.
    """
    return _built(folder) or _archived(folder) or _checked_out(folder) or _unreleased(0, deployed_commit())


def _built(folder: Path) -> str | None:
    for path in (*folder.glob("haulier-*.dist-info/METADATA"), folder / "PKG-INFO"):
        if found := re.match(r"Metadata-Version: .+\nName: haulier\nVersion: (.+)\n", _text(path)):
            return found[1]
    return None


def _archived(folder: Path) -> str | None:
    # `git archive` replaces what stands between dollar signs. In a checkout nothing matches.
    written = dict(re.findall(r"^([a-z-]+): ([^\s$]+)$", _text(folder / ".git_archival.txt"), re.MULTILINE))
    if named := _named(written.get("describe-name", "")):
        return named
    return _unreleased(0, written["commit"]) if "commit" in written else None


def _checked_out(folder: Path) -> str | None:
    if not (folder / ".git").exists():
        return None
    if named := _named(_git(folder, "describe", "--tags", "--long", f"--abbrev={DIGITS}", "--match", "v[0-9]*")):
        return named
    commits = _git(folder, "rev-list", "HEAD").split()
    return _unreleased(len(commits), commits[0]) if commits else None


def _git(folder: Path, *arguments: str) -> str:
    # With --git-dir git looks for no other repository, and reads one that belongs to another user, such as a service's.
    command = ["git", "--git-dir", str(folder / ".git"), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()


def _named(described: str) -> str | None:
    """Return the version of what `git describe` says, such as v1.0.0-3-g0123abcde; None if that is no version."""
    found = re.fullmatch(r"v([0-9a-z.]*?)([0-9]+)(?:-([0-9]+)-g([0-9a-f]+))?", described)
    if found is None:
        return None
    tag, last, commits, commit = found.groups()
    if not int(commits or 0):
        return f"{tag}{last}"
    # The next number, because a version with .dev sorts below the same version without it.
    return f"{tag}{int(last) + 1}.dev{commits}+g{commit[:DIGITS]}"


def _unreleased(commits: int, commit: str | None) -> str:
    return f"{FIRST}.dev{commits}+{f'g{commit[:DIGITS]}' if commit else 'unknown'}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
