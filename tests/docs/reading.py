"""Reading the documentation as the tests need it: its blocks, its tables, its links, its curl commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DSN = "postgres://db.example.com/haulier"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])


def text_of(page: str) -> str:
    """Return a page, named from the repository's root."""
    return (ROOT / page).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """Return what stands below this heading, its own sub-headings included."""
    level, _, _ = heading.partition(" ")
    _, found, rest = f"\n{text_of(page)}".partition(f"\n{heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    # Not at a comment in a block.
    parts = re.finditer(rf"^```.*?^```|^(?P<next>#{{1,{len(level)}}} )", rest, flags=re.MULTILINE | re.DOTALL)
    end = next((part.start() for part in parts if part["next"]), None)
    return rest[:end]


def blocks(page: str, language: str) -> list[str]:
    """Return the page's fenced blocks of this language."""
    return blocks_in(text_of(page), language)


def blocks_in(text: str, language: str) -> list[str]:
    """Return the fenced blocks of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. `not_run` is why it is not run, file which file it is: a comment above or in it says so."""

    page: str
    language: str
    text: str
    not_run: str | None = None
    file: str | None = None


def blocks_of(page: str) -> list[Block]:
    """Return the page's fenced blocks, in order."""
    marked = r"(?:^<!-- (?P<mark>not run|file): (?P<what>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```"
    found = re.finditer(marked, text_of(page), flags=re.MULTILINE | re.DOTALL)
    return [
        Block(
            page,
            each["language"],
            each["text"],
            not_run=each["what"] if each["mark"] == "not run" else None,
            file=each["what"] if each["mark"] == "file" else _named_file(each["text"]),
        )
        for each in found
    ]


def _named_file(text: str) -> str | None:
    named = re.match(r"# ([\w/]+\.py)\n", text)
    return named[1] if named else None


def without_blocks(text: str) -> str:
    """Return the text less its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def tables(text: str) -> Iterator[list[str]]:
    """Yield the rows of every table as lists of cells, without the heads."""
    for table in re.findall(r"(?:^\|.*\n)+", f"{text}\n", flags=re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in line.strip().strip("|").split(" |")]


def names_in(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings, and those that the text has of its own."""
    text = without_blocks(text)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a id="([^"]+)">', text))


def links(text: str) -> list[str]:
    """Return the targets of the links and images."""
    text = without_blocks(text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)


@dataclass(frozen=True)
class Call:
    """A curl command. `status` is what the comment above it says, or None."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    status: int | None = None


def calls(page: str) -> list[Call]:
    """Return the page's curl commands, in order; one that we cannot read is an error."""
    found = []
    for block in blocks(page, "sh"):
        status: int | None = None
        for command in commands(block):
            if said := re.match(r"# (\d{3})\b", command):
                status = int(said[1])
            elif command.startswith("curl "):
                found.append(call_of(command, status))
                status = None
    return found


def commands(block: str) -> Iterator[str]:
    """Yield the commands and comments of a block; one may go on over several lines, inside quotes too."""
    pending = ""
    for line in block.replace("\\\n", " ").splitlines():
        pending += line
        if pending.startswith("#") or _is_complete(pending):
            yield pending
            pending = ""
        else:
            pending += "\n"
    assert not pending, f"not complete: {pending!r}"


def _is_complete(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def call_of(line: str, status: int | None = None) -> Call:
    """Return what the curl command would send."""
    method, url, body = "", "", None
    headers: dict[str, str] = {}
    words = iter(shlex.split(line)[1:])
    for word in words:
        if word in ("-i", "-s"):
            continue
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(":")
            headers[name] = value.strip()
        elif word == "-d":
            body = next(words)
        elif word == "-o":
            next(words)
        else:
            here = re.fullmatch(r"(?:http://)?(?:localhost|127\.0\.0\.1):8080(/.*)", word)
            assert here, f"not understood: {word!r} in {line!r}"
            url = here[1]
    assert url, f"no URL: {line!r}"
    return Call(method or ("GET" if body is None else "POST"), url, headers, body, status)
