"""`haulier init`: what a repository of one's own needs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from haulier.cli.parts.invocation import Command
from haulier.domain.errors import ConfigError
from haulier.version import version

# Each file, and the one that it is made of.
FILES = {
    "Procfile": "Procfile",
    "kinds.py": "kinds.py.txt",
    "test_kinds.py": "test_kinds.py.txt",
    ".env.example": "env.example",
    ".gitignore": "gitignore",
    "requirements.txt": "requirements.txt",
}
# The first two can be typed as they are.
STEPS = """\
1. pip install 'haulier[server,local]' pytest && python -m pytest test_kinds.py
2. HAULIER_KINDS=kinds haulier run  # and look at http://127.0.0.1:8080/docs
3. Commit, set the variables of .env.example on your platform, and push: the Procfile has the commands"""


@click.command("init", cls=Command, example="haulier init shop")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Create a Procfile, .env.example, and a kind of job with its test.

    The files go into DIR, or into the current folder. Existing files are left alone.
    """
    line = requirement(version())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, template in FILES.items():
            text = files("haulier.cli").joinpath("templates", template).read_text(encoding="utf-8")
            print(_write(folder / name, text.replace("{requirement}", line), line))
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None
    wheel = folder / line.removesuffix("[server]")
    if line.startswith("./") and not wheel.exists():
        print(f"needs  {wheel}: copy the wheel that you installed to this path")
    print(f"\nThe next three steps{_where(folder)}:\n{STEPS}")


def requirement(number: str) -> str:
    """Return the line of requirements.txt that installs this version.

    A release comes from a package index. A build of another commit, such as 1.0.1.dev3+g0123abcde, is on no index: so
    the line names its file, which docs/own-repository.md keeps in vendor/.
    """
    is_release = ".dev" not in number
    return f"haulier[server]=={number}" if is_release else f"./vendor/haulier-{number}-py3-none-any.whl[server]"


def _write(path: Path, text: str, line: str) -> str:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        is_complete = path.name != "requirements.txt" or "haulier" in path.read_text(encoding="utf-8", errors="replace")
        return f"left   {path}" if is_complete else f"left   {path}: add the line {line}"
    return f"wrote  {path}"


def _where(folder: Path) -> str:
    return "" if folder.resolve() == Path.cwd() else f", in {folder}"
