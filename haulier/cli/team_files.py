"""What `haulier init` does with files that a repository already has: extend .gitignore, and print lines to copy."""

from __future__ import annotations

import re
from pathlib import Path

PROCESS = re.compile(r"^([\w-]+):[ \t]*(.*?)\s*$", re.MULTILINE)
OWN_WEB = """
The process `web` of Procfile is your own, so Haulier's API and dashboard do not run: mount them in it, or deploy
`haulier web` as a second app on the same database."""


def extend_gitignore(path: Path, template: str) -> list[str]:
    """Append the lines of the template that the file lacks, and return them."""
    existing = path.read_bytes()
    patterns = {_pattern(line) for line in existing.decode(errors="replace").splitlines()}
    missing = [line for line in template.splitlines() if _pattern(line) not in patterns]
    if missing:
        ending = b"\r\n" if b"\r\n" in existing else b"\n"
        start = ending if existing and not existing.endswith(b"\n") else b""
        with path.open("ab") as file:
            file.write(start + b"".join(line.encode() + ending for line in missing))
    return missing


def _pattern(line: str) -> str:
    return line.strip().strip("/")


def procfile_advice(existing: str, template: str) -> list[str]:
    """Return what to say about the lines that a team's Procfile lacks."""
    team: dict[str, str] = dict(PROCESS.findall(existing))
    missing = [(name, command) for name, command in PROCESS.findall(template) if not _has(existing, command)]
    add, advice = [], []
    for name, command in missing:
        if name not in team:
            add.append(f"{name}: {command}")
        elif name == "release":
            advice += lines_to_copy("In Procfile, change `release` to", [f"{name}: {team[name]} && {command}"])
        elif name == "web":
            advice.append(OWN_WEB)
        else:
            # The team's own worker keeps its name.
            add.append(f"haulier-{name}: {command}")
    return [*lines_to_copy("Add to Procfile", add), *advice]


def _has(procfile: str, command: str) -> bool:
    """Tell whether a line of the Procfile runs this command of Haulier; `haulier all` is web and worker."""
    name = command.split()[-1]
    names = name if name == "migrate" else f"{name}|all"
    return any(re.search(rf"\bhaulier ({names})\b", line) for _, line in PROCESS.findall(procfile))


def requirements_advice(existing: str, requirement: str) -> list[str]:
    """Return what to say about a team's requirements.txt, if Haulier is not in it."""
    is_there = any("haulier" in line for line in existing.splitlines() if not line.lstrip().startswith("#"))
    return [] if is_there else lines_to_copy("Add to requirements.txt", [requirement])


def lines_to_copy(title: str, lines: list[str]) -> list[str]:
    """Return the lines below a title, without anything before them; nothing if there are none."""
    return ["", f"{title}:", *lines] if lines else []
