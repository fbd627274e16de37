"""`haulier init`: what a repository of one's own needs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from haulier.cli.parts.invocation import Command
from haulier.cli.team_files import extend_gitignore, procfile_advice, requirements_advice
from haulier.domain.errors import ConfigError
from haulier.version import requirement

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
1. pip install -r requirements.txt '{local}'{test}
2. HAULIER_KINDS=kinds haulier run  # and look at http://127.0.0.1:8080/docs
3. Commit, set the variables of .env.example on your platform, and push: the Procfile has the commands"""


@click.command("init", cls=Command, example="haulier init shop")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Create a Procfile, .env.example, and a kind of job with its test.

    The files go into DIR, or into the current folder. Of existing files only .gitignore is extended; for Procfile and
    requirements.txt the missing lines are printed.
    """
    line = requirement("server")
    report, advice = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The test is one of the kind in our kinds.py.
        left_out = {"test_kinds.py"} if (folder / "kinds.py").exists() else set()
        for name, template in FILES.items():
            if name in left_out and not (folder / name).exists():
                continue
            text = files("haulier.cli").joinpath("templates", template).read_text(encoding="utf-8")
            done, *missing = _write(folder / name, text.replace("{requirement}", line))
            report.append(done)
            advice += missing
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None
    wheel = folder / line.removesuffix("[server]")
    if line.startswith("./") and not wheel.exists():
        report.append(f"needs  {wheel}: copy the wheel that you installed to this path")
    test = " pytest && python -m pytest test_kinds.py" if (folder / "test_kinds.py").exists() else ""
    steps = STEPS.replace("{local}", requirement("local")).replace("{test}", test)
    print("\n".join([*report, *advice, f"\nThe next three steps{_where(folder)}:", steps]))


def _write(path: Path, text: str) -> list[str]:
    """Write a file, or leave or extend an existing one. Return a line that says so, and advice on missing lines."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return _complete(path, text)
    return [f"wrote  {path}"]


def _complete(path: Path, text: str) -> list[str]:
    if path.name == ".gitignore" and (added := extend_gitignore(path, text)):
        return [f"added  {' '.join(added)} to {path}"]
    left = f"left   {path}"
    existing = path.read_text(encoding="utf-8", errors="replace")
    match path.name:
        case "Procfile":
            return [left, *procfile_advice(existing, text)]
        case "requirements.txt":
            return [left, *requirements_advice(existing, text.strip())]
    return [left]


def _where(folder: Path) -> str:
    return "" if folder.resolve() == Path.cwd() else f", in {folder}"
