"""What comments, docstrings, messages and docs point to is there, files as well as names. It ..."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache

from tests.architecture.reading import ROOT

# What others have, what programs write, and what later releases will have.
ELSEWHERE = {
    *("gthread.py", "zoneinfo.reset_tzpath", "test_kinds.py", "exchange.sql"),
    *("haulier/queue/upkeep/migrations/NNN_what.sql", "tests/queue/upkeep/version_1.sql"),
}
FILE = re.compile(r"(?<![\w/.-])((?:[\w-]+/)*[\w-]+\.(?:py|sql|html|js))\b(?!/)")
# A name in backticks, or an object of the schema.
NAME = re.compile(r"`([A-Za-z_][\w.]*)(?:\(\))?`|\b(haulier\.[a-z_]+)\b")
CODE = (".py", ".sql", ".html", ".css", ".js", ".cfg", ".toml", ".yml", ".json")


def files(*ends: str) -> list[str]:
    """Return the files of the repository with these ends."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split() if name.endswith(ends) and (ROOT / name).is_file()]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pieces(name: str) -> Iterator[tuple[bool, str]]:
    """Yield the pieces of a file, each with whether it is a comment or a docstring."""
    if name.endswith(".py"):
        yield from pieces_of_python(read(name))
    elif name.endswith(".sql"):
        for line in read(name).splitlines():
            code, _, comment = line.partition("--")
            # Such a comment names a statement, or a part of some.
            yield re.match(r" (name|part): ", comment) is None, comment
            yield False, code
    else:
        yield False, read(name)


def pieces_of_python(text: str) -> Iterator[tuple[bool, str]]:
    documented = {
        node.body[0].lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_docstring = token.type == tokenize.STRING and token.start[0] in documented
        yield token.type == tokenize.COMMENT or is_docstring, token.string


@cache
def words() -> set[str]:
    """Return each word of the code."""
    code = (text for name in files(*CODE) for is_prose, text in pieces(name) if not is_prose)
    return {word for text in code for word in re.findall(r"\w+", text)}


def prose() -> Iterator[tuple[str, str]]:
    """Yield each comment and docstring, with its file."""
    for name in files(".py", ".sql"):
        yield from ((name, text) for is_prose, text in pieces(name) if is_prose)


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
