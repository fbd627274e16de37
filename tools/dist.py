"""Build the wheel and the sdist, the same bytes from the same sources: `make dist`. It needs no network.

    python tools/dist.py [FOLDER]

They go to dist/ by default. What is built is a copy, since setuptools writes beside what it builds. The copy
has no .git, so the version is given to it.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    *("haulier", "app", "schema.sql", "grants.sql"),
    *("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"),
)
# All that is built is of this time: the second day that a zip file can hold. Units: seconds.
EPOCH = 315_619_200
# setuptools-scm takes the version from it, before it looks anywhere else.
VERSION_SETTING = "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_HAULIER"
BUILD = "from setuptools import build_meta as b; b.build_wheel('../out'); b.build_sdist('../out')"


def main() -> None:
    """Build both and say what was built."""
    own = ROOT / "dist"
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else own).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="haulier-dist-") as scratch:
        built = build(Path(scratch))
        # Every commit's files have other names, and `pip install dist/haulier-*.whl` has to mean one of them.
        for old in own.glob("haulier-*") if folder == own else ():
            old.unlink()
        for path in built:
            shutil.copy(path, folder / path.name)
    print(f"haulier {version()}: {' and '.join(os.path.relpath(folder / path.name) for path in built)}")


def version() -> str:
    """Return the version of these sources, which the program itself would say."""
    sys.path.insert(0, str(ROOT))
    from haulier.version import version_of

    return version_of(ROOT)


def build(scratch: Path) -> list[Path]:
    """Return the wheel and the sdist, built in this folder."""
    copy, out = scratch / "haulier", scratch / "out"
    for name in SOURCES:
        into = copy / name
        into.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, into, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, into)
    out.mkdir()
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "TZ": "UTC", VERSION_SETTING: version()}
    done = subprocess.run(
        [sys.executable, "-c", BUILD],
        cwd=copy,
        env=environ,
        umask=0o022,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nhaulier: cannot build: see above")
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    level(sdist)
    return [wheel, sdist]


def level(sdist: Path) -> None:
    """Take out of the archive who made it, and when."""
    with tarfile.open(sdist) as archive:
        files = {each.name: archive.extractfile(each).read() for each in archive if each.isfile()}
    with (
        sdist.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=EPOCH) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), EPOCH, 0o644
            archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main()
