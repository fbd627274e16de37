"""Find turns of phrase that have to be read twice in comments, docstrings, messages, templates and pages.

Usage: python tools/plain_english.py [FILE or FOLDER]… (by default the code, its templates and the
pages). Exits with 1 on a find.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PROGRAMS = ("haulier", "app", "tools", "ops", "Makefile", "gunicorn.conf.py", "worker.py")
CHECKED = (*PROGRAMS, "docs", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
SUFFIXES = {".py", ".sql", ".html", ".md", ".txt", ".yml", ""}
# Built from other files, or sample data, or the patterns themselves.
LEFT_OUT = re.compile(
    r"(^|/)(haulier/)?(schema|grants)\.sql$|/(static|vendor|assets|node_modules|__pycache__)/|plain_english\.py$"
)


def _turn(pattern: str, better: str) -> tuple[re.Pattern[str], str]:
    # A space of a pattern may also be the end of a line.
    return re.compile(pattern.replace(" ", r"[ \n]")), better


# What may stand before "alone": it is left or run alone.
HARMLESS = r"(?<!left |runs |that |them |each )(?<!leave |files )(?<!leaves )(?<!run |ran |was )(?<!it )"
# Each pattern, and what to write. Words with many harmless uses ("nobody", "neither", "as", "has no") are not here.
TURNS = (
    _turn(r"\w, where (it|they|there|this|that|these|no|none|nothing|nobody|one|some) ", '"if"; "where" is for places'),
    _turn(r"(?<=[.;:] )Where (?!to\b|is\b|are\b|from\b)[^.?|]{3,80},", '"If"; "where" is for places'),
    _turn(r"\b(is|are|was|were|be|been) told\b(?! to)|\btells?\b", '"says", "shows" or "knows", with its subject'),
    _turn(r"\b(is|are|as|than|like) (that|those) of\b", "repeat the noun"),
    _turn(r"(?<!every )\bso (many|much|few|often)\b(?! (as|that|so|\w+ (that|as))\b)", '"this many"'),
    _turn(r"\bso long\b(?=[.,;:)]| (at|after|before|until|most)\b)", '"this long"'),
    _turn(rf"(?<=\w ){HARMLESS}alone\b", '"only", before what it limits'),
    _turn(r"\bfor good\b", '"permanently"'),
    _turn(r"\b(go|goes|went) on\b", '"continue"'),
    _turn(r"\bof late\b|\blately\b", '"recently"'),
    _turn(r"\banew\b|\bonce more\b", '"again"'),
    _turn(r"\bin (the|its|their) place( of)?\b", '"instead (of)"'),
    _turn(r"(?<!here )\bis no (URL|answer|figure|failure|list|number|object|outage|text|word)\b", '"is not a …"'),
    _turn(r"\b(is|are|was|were|be|been) tried again\b|, tried again\b", '"retried"'),
    _turn(r"\b[Aa]n? ([a-z]+ )?[a-z]+ of (its|their|our|his) own\b", '"its own …", or "a separate …"'),
    _turn(r"\b(workers?|process|processes|threads?) (live|lives|lived)\b", '"is running"'),
    _turn(r"(?<=[.;:] )Neither\b[^.]* nor\b|\bheed(s|ed)?\b|\bpass(es|ed)? over\b", 'its opposite, "ignore", "skip"'),
)

# Where the words are meant: a part of the path, and of the text around them.
# Other pages link to the heading in kinds.md.
EXCEPTIONS = (
    ("docs/", "suspects alone"),
    ("docs/watch.md", "Retry one alone"),
    ("docs/kinds.md", "A kind in a process of its own"),
)


class Find(NamedTuple):
    """A turn of phrase at a place."""

    path: str
    line: int
    words: str
    better: str


def prose(text: str, suffix: str) -> str:
    """Return the text with what is not prose blanked, and its lines without white space at their ends."""
    if suffix == ".py":
        text = _of_python(text)
    elif suffix == ".sql":
        text = re.sub(r"(?m)^(?:(?!--).)*(--)?", lambda code: "" if code[0].strip() == "--" else "\0", text)
    elif suffix == ".html":
        text = re.sub(r"(?s)\{[{%].*?[%}]\}", _blank, text)
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", _blank, text)
    return re.sub(r"[ \t]*\n[ \t]*", "\n", re.sub(r"[ \t]+", " ", text))


def _blank(code: re.Match[str]) -> str:
    return re.sub(r"[^\n]+", "\0", code[0])


def _of_python(text: str) -> str:
    lines = text.splitlines(keepends=True)
    shown = ["\0" * (len(line) - 1) + "\n" for line in lines]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or "STRING" in tokenize.tok_name[token.type]:
            (first, begin), (last, end) = token.start, token.end
            for row in range(first, last + 1):
                since, until = begin if row == first else 0, end if row == last else len(lines[row - 1])
                shown[row - 1] = shown[row - 1][:since] + lines[row - 1][since:until] + shown[row - 1][until:]
    return re.sub(r'["#]', " ", "".join(shown))


def turns_in(path: str, text: str) -> Iterator[Find]:
    """Yield what is found in the text of this file."""
    shown = prose(text, Path(path).suffix)
    for pattern, better in TURNS:
        for match in pattern.finditer(shown):
            around = " ".join(shown[max(0, match.start() - 40) : match.end() + 40].split())
            if not any(part in path and words in around for part, words in EXCEPTIONS):
                line = shown.count("\n", 0, match.end()) + 1
                yield Find(path, line, " ".join(match[0].split()), better)


def finds(names: Iterable[str]) -> Iterator[Find]:
    """Yield what is found in these files and folders of the repository."""
    for name in names:
        whole = ROOT / name
        for path in sorted(whole.rglob("*")) if whole.is_dir() else [whole]:
            shown = path.relative_to(ROOT).as_posix()
            if path.is_file() and path.suffix in SUFFIXES and not LEFT_OUT.search(shown):
                yield from turns_in(shown, path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    found = sorted(finds(sys.argv[1:] or CHECKED))
    sys.stdout.writelines(f'{path}:{line}: "{words}": write {better}\n' for path, line, words, better in found)
    sys.exit(bool(found))
