"""What comments, docstrings, messages and docs point to is there, files as well as names. It ..."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from tests.architecture.reading import ROOT

# What others have, what programs write, and what later releases will have.
ELSEWHERE = {
    *("gthread.py", "zoneinfo.reset_tzpath", "test_kinds.py", "exchange.sql"),
    *("haulier/queue/upkeep/migrations/NNN_what.sql", "tests/queue/upkeep/version_1.sql"),
}
FILE = re.compile(r"(?<![\w/.-])((?:[\w-]+/)*[\w-]+\.(?:py|sql|html|js))\b(?!/)")
# A name in backticks, or an object of the schema.
NAME = re.compile(r"`([A-Za-z_][\w.]*)(?:\(\))?`|\b(haulier\.[a-z_]+)\b")
# Not by tokenize, which takes four times as long.
STRING_OR_COMMENT = re.compile(
    r"""(\"{3}|'{3})(?:\\.|[^\\])*?\1|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\#[^\n]*""", re.DOTALL
)
# But for the comments that name a statement, or a part of one.
SQL_COMMENT = re.compile(r"--(?! (?:name|part): ).*")
CODE = (".py", ".sql", ".html", ".css", ".js", ".cfg", ".toml", ".yml", ".json")


def files(*ends: str) -> list[str]:
    """Return the files of the repository with these ends."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split() if name.endswith(ends) and (ROOT / name).is_file()]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def split(name: str) -> tuple[str, str]:
    """Return the comments and docstrings of a file, and the rest."""
    text, prose = read(name), []

    def taken(match: re.Match[str]) -> str:
        # Of the line before a docstring, which may end in a comment.
        line = text[: match.start()].rstrip().rpartition("\n")[2].partition("#")[0].rstrip()
        is_docstring = match[0].startswith('"""') and (not line or line.endswith(":"))
        if not is_docstring and match[0][0] not in "#-":
            return match[0]
        prose.append(match[0])
        return ""

    pattern = {".py": STRING_OR_COMMENT, ".sql": SQL_COMMENT}.get(Path(name).suffix)
    code = pattern.sub(taken, text) if pattern else text
    return "\n".join(prose), code


@cache
def words() -> set[str]:
    """Return each word of the code."""
    return {word for name in files(*CODE) for word in re.findall(r"\w+", split(name)[1])}


def prose() -> list[tuple[str, str]]:
    """Return the comments and docstrings of each file, with its name."""
    return [(name, split(name)[0]) for name in files(".py", ".sql")]


def test_each_file_that_is_named_exists():
    listed = [f"/{name}" for name in files("")]
    # The messages of the product are in its code; a page also names files that its readers write.
    texts = [*prose(), *((name, read(name)) for name in files(".py") if not name.startswith("tests/"))]
    named = {(where, file) for where, text in texts for file in FILE.findall(text)}
    for page in files(".md"):
        named |= {(page, file) for file in FILE.findall(read(page)) if file.startswith(("haulier/", "app/", "tests/"))}

    missing = {
        f"{where}: {file}"
        for where, file in named
        if file not in ELSEWHERE and not any(path.endswith(f"/{file}") for path in listed)
    }
    assert len(named) > 200
    assert missing == set()


def test_each_name_that_is_quoted_exists():
    quoted = {(where, one or other) for where, text in prose() for one, other in NAME.findall(text)}

    assert len(quoted) > 500
    missing = {(where, name) for where, name in quoted if not set(re.findall(r"\w+", name)) <= words()}
    assert {f"{where}: {name}" for where, name in missing if name not in ELSEWHERE} == set()
