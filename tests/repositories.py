"""A git repository of a test's own, with commits and tags at will."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Nobody's hooks, signatures or templates, and nobody's repository.
ENVIRON = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
}


class Repository:
    """A repository in this folder, made of what is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main")
        # It says in archives where they were made.
        for name in (".gitattributes", ".git_archival.txt"):
            (folder / name).write_bytes((ROOT / name).read_bytes())

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=ENVIRON, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self) -> str:
        """Commit all that there is, and return the first nine digits of the commit."""
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message=Go on")
        return self.git("rev-parse", "HEAD")[:9]

    def archive(self, folder: Path) -> Path:
        """Unpack what `git archive` makes of the last commit into this folder, and return the folder."""
        folder.mkdir()
        self.git("archive", "--format=tar", f"--output={folder}.tar", "HEAD")
        subprocess.run(["tar", "-xf", f"{folder}.tar", "-C", str(folder)], check=True, timeout=60)
        return folder
