"""What the files of the code hold and what they do not: SQL, settings, names, lengths, docstrings. It ..."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.reading import NAMES, QUEUE, ROOT, TESTS_AND_LAB, offenders, parse, room_of

LONGEST_FILE, LONGEST_FUNCTION = 400, 60
VAGUE = re.compile(r"^_?(utils?|commons?|base|helpers?|managers?|misc|tools)$")

SQL_LIKE = re.compile(
    # A verb and what follows it in a statement, wherever the string begins with it …
    r"^\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|TRUNCATE|SET|LISTEN|NOTIFY|GRANT|COPY|LOCK|COMMENT)"
    r"\s+[A-Za-z0-9(%*'\"{]"
    r"|^\s*(BEGIN|COMMIT|ROLLBACK|START TRANSACTION)\s*(;|$)"
    # … or a whole clause, wherever it stands.
    r"|\bSELECT\b.+\bFROM\b|\bINSERT\s+INTO\b|\bUPDATE\b.+\bSET\b|\bDELETE\s+FROM\b",
    re.DOTALL,
)


def strings(name: str) -> Iterator[str]:
    """Yield each string of the file that is not a docstring, f-strings with their holes as {}."""
    tree = parse(name)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_sql_is_in_sql_files_alone():
    def statements(name: str) -> list[str]:
        return [text for text in strings(name) if SQL_LIKE.search(text)]

    assert offenders(NAMES, statements) == {}


def test_rows_skipped_by_their_number_are_in_an_order():
    def unordered(name: str) -> list[str]:
        statements = (ROOT / name).read_text().split("\n-- name: ")[1:]
        return [
            text.partition("\n")[0]
            for text in statements
            if re.search(r"LIMIT .*%\(offset\)s|<<a_bounded_number>>", text)
            and not re.search(r"ORDER BY .+\n *(LIMIT %\(limit\)s|<<a_bounded_number>>)", text)
        ]

    assert offenders([str(path.relative_to(ROOT)) for path in ROOT.glob("haulier/**/*.sql")], unordered) == {}


ENVIRONMENT = {"environ", "environb", "getenv", "putenv"}


def reads_environment(name: str) -> bool:
    return any(
        # A request has an environ too.
        (
            isinstance(node, ast.Attribute)
            and node.attr in ENVIRONMENT
            and ast.unparse(node.value) not in ("request", "current")
        )
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {each.name for each in node.names} & ENVIRONMENT
        )
        for node in ast.walk(parse(name))
    )


def test_settings_are_read_in_one_place():
    readers = {name for name in NAMES if reads_environment(name)}

    # prometheus_client's own, which it reads when it is imported.
    readers.remove("app/http/gunicorn/hooks.py")
    # By whom it is run, which says whose word about a client is taken.
    readers.remove("app/gunicorn_settings.py")
    assert {name for name in readers if not name.startswith("haulier/local/")} == {"haulier/config.py"}


def test_no_room_has_a_vague_name():
    vague = [name for name in NAMES if any(VAGUE.match(part) for part in Path(name).with_suffix("").parts)]

    assert vague == []


def functions(name: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(parse(name)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{name}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_and_functions_are_short_enough_to_be_read_at_once():
    # Not schema.sql, which is built from haulier/schema so that `psql -f schema.sql` applies it, from any folder.
    statements = [str(path.relative_to(ROOT)) for path in ROOT.glob("haulier/*/**/*.sql")]
    names = [*NAMES, *TESTS_AND_LAB, *statements]
    lengths = [(len((ROOT / name).read_text().splitlines()), name) for name in names]
    functions_by_length = [(length, where) for name in NAMES for where, length in functions(name)]

    for title, found in (("files", lengths), ("functions", functions_by_length)):
        print(f"The ten longest {title}:")
        for length, where in sorted(found, reverse=True)[:10]:
            print(f"{length:5} {where}")

    assert [where for length, where in lengths if length > LONGEST_FILE] == []
    assert [where for length, where in functions_by_length if length > LONGEST_FUNCTION] == []


def waits_by_sleeping(name: str) -> bool:
    """Return whether it sleeps, or waits for an event that has no name and so is nobody's to set."""
    return any(
        isinstance(node, ast.Attribute)
        and (
            (node.attr == "sleep" and isinstance(node.value, ast.Name))
            or (node.attr == "wait" and ast.unparse(node.value).endswith("Event()"))
        )
        for node in ast.walk(parse(name))
    )


def test_nothing_sleeps_if_it_could_wait():
    assert [name for name in NAMES if waits_by_sleeping(name)] == []


def public_without_docstring(name: str) -> list[str]:
    tree = parse(name)
    missing = [] if ast.get_docstring(tree) else [name]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not re.match("_|Meta$", node.name) and not ast.get_docstring(node):
            missing.append(f"{name} {node.name}")
    if room_of(name) in ("domain", "postgres", *QUEUE):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not ast.get_docstring(node):
                missing.append(f"{name} {node.name}")
    return missing


def test_every_module_and_class_and_each_verb_of_the_queue_says_what_it_is():
    assert offenders(NAMES, public_without_docstring) == {}


def test_the_product_names_no_place_of_the_machine_it_was_made_on():
    places = re.compile(r"/(?:work|root|home/\w+)/|site-packages|index-url|find-links")

    found = [
        name
        for name in [*NAMES, *(str(path.relative_to(ROOT)) for path in ROOT.glob("haulier/**/*.sql"))]
        if places.search((ROOT / name).read_text())
    ]

    assert found == []
