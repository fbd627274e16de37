"""The plan of the house, read from its walls: who may import whom, and where SQL, Flask and settings live. It ..."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("haulier/**/*.py"), *ROOT.glob("app/**/*.py"), *ROOT.glob("*.py")])
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

# Each room, and the rooms whose doors open from it: those of the library by their names, those of the application as
# app.*. Every room may read haulier.config and write haulier.logs.
QUEUE = {"queue", "queue.access", "queue.consume", "queue.produce", "queue.upkeep"}
WORKER = {"worker", "worker.isolation", "worker.metrics", "worker.shared", "worker.steps", "worker.threads"}
MAY_IMPORT = {
    "domain": set(),
    "postgres": {"domain"},
    "queue": {"domain", "postgres"},
    "queue.access": {"domain", "postgres"},
    "queue.upkeep": {"domain", "postgres"},
    "queue.produce": {"domain", "postgres", "queue", "queue.upkeep"},
    "queue.consume": {"domain", "postgres", "queue", "queue.upkeep"},
    "kinds": {"domain", "kinds.sdk", "kinds.outbound"},
    "kinds.sdk": {"domain"},
    "kinds.outbound": {"domain", "kinds.sdk"},
    "worker": {"domain", "postgres", *QUEUE, "kinds", *WORKER},
    "worker.threads": {"domain", "postgres", *QUEUE, "kinds", *(WORKER - {"worker", "worker.threads"})},
    "worker.steps": {"domain", "postgres", *QUEUE, "kinds", "worker.metrics", "worker.shared"},
    "worker.shared": {"domain", "postgres", *QUEUE, "kinds", "worker.metrics"},
    "worker.metrics": {"domain"},
    "worker.isolation": {"domain", "queue", "kinds", "kinds.sdk", "worker.steps"},
    "local": {"domain", "postgres", "queue.upkeep"},
    # Of the worker what runs a handler, and what puts all of it together.
    "testing": {"domain", "postgres", *QUEUE, "kinds", "kinds.sdk", "worker", "worker.steps", "local"},
    "config": {"domain"},
    "logs": set(),
    "__init__": set(),
    "__main__": {"cli", "domain", "postgres", *QUEUE},
    "cli": {"domain", "postgres", *QUEUE, "worker"},
    "app.http": {"domain", "postgres", "queue.access", "queue.upkeep", "kinds", "kinds.sdk"},
    # Of app.http only what loads no Flask: this is loaded by gunicorn's master.
    "app.http.gunicorn": {"domain", "postgres", "queue.access", "queue.upkeep", "kinds", "app.http"},
    "app.api": {"domain", "postgres", *QUEUE, "kinds", "kinds.sdk", "app.http", "app.api.schemas"},
    "app.api.schemas": {"domain", "queue", "kinds", "kinds.sdk", "app.http"},
    "app.gunicorn_settings": {"app.http.gunicorn"},
    "app": {"app.api"},
    "app.__main__": {"__main__"},
    "worker.py": {"worker"},
    "gunicorn.conf.py": {"app.gunicorn_settings"},
}
EVERYBODY = {"config", "logs", "__init__"}
# What is outside, and the rooms it may come into; app/__init__.py only inside its factory.
GUESTS = {
    "psycopg2": {"postgres"},
    "flask": {"app.http", "app.api", "app"},
    "flask_smorest": {"app.api"},
    "werkzeug": {"app.http", "app.api"},
    "webargs": {"app.api"},
    "gunicorn": {"app.http.gunicorn"},
    "prometheus_flask_exporter": {"app.api"},
    "prometheus_client": {"app.api", "app.http.gunicorn", "worker.metrics"},
}
# Of the library, all that can be imported.
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in FILES
    if path.is_relative_to(ROOT / "haulier")
]
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
# So many shared things a step of the worker may use; one that needs more is two steps.
MOST_FIELDS = 8
VAGUE = re.compile(r"^_?(utils?|commons?|base|helpers?|managers?|misc|tools)$")


def module_of(name: str) -> str:
    """Return the file's module, of a package with its __init__."""
    return ".".join(Path(name).with_suffix("").parts)


def room_of(name: str) -> str:
    """Return the folder of a file in a package, or the file where it stands by itself beside those."""
    if "/" not in name:
        return name
    package, *rest = module_of(name).split(".")
    room = ".".join(rest[:-1]) or rest[0]
    if package == "haulier":
        return room
    return "app" if room == "__init__" else f"app.{room}"


def parse(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(node: ast.AST, importer: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yield each imported module's full name, those for type checkers alone aside; importer is its own."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, child
        elif isinstance(child, ast.ImportFrom):
            module = imported_from(child, importer)
            named = {f"{module}.{alias.name}" for alias in child.names}
            for found in named & OURS.keys() or {module}:
                yield found, child
            if named - OURS.keys():
                yield module, child
        else:
            yield from imports(child, importer)


def imported_from(node: ast.ImportFrom, importer: str) -> str:
    around = importer.split(".")[: -node.level] if node.level else []
    return ".".join([*around, *([node.module] if node.module else [])])


# Each module of ours by its full name, a package by that of its __init__, and its file.
OURS = {module_of(name).removesuffix(".__init__"): name for name in NAMES}


def rooms_imported(name: str) -> set[str]:
    return {room_of(OURS[module]) for module, _ in imports(parse(name), module_of(name)) if module in OURS}


@pytest.mark.parametrize("name", NAMES)
def test_imports_run_one_way_only(name):
    room = room_of(name)

    forbidden = rooms_imported(name) - MAY_IMPORT[room] - EVERYBODY - {room}

    assert forbidden == set()


def test_the_test_above_sees_every_room_and_real_imports():
    assert {room_of(name) for name in NAMES} == MAY_IMPORT.keys()
    assert rooms_imported("haulier/queue/produce/cancel.py") == {"domain", "postgres", "queue.produce", "queue.upkeep"}
    assert rooms_imported("app/api/health.py") >= {"domain", "queue.produce", "app.api"}
    assert rooms_imported("app/__init__.py") == {"config", "app.api"}
    assert rooms_imported("worker.py") == {"worker"}


def test_no_modules_import_each_other_in_a_circle():
    imported = {
        module: {found for found, _ in imports(parse(name), module_of(name)) if found in OURS and found != module}
        for module, name in OURS.items()
    }

    assert circles(imported) == {}


def circles(imported: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the modules that import each other in a circle, and those that lead to one."""
    # What imports nothing that is left falls away.
    while free := {module for module, found in imported.items() if not found & imported.keys()}:
        imported = {module: found for module, found in imported.items() if module not in free}
    return {module: found & imported.keys() for module, found in imported.items()}


# The lab: experiments with what is above, which nothing above knows of.
LAB = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("lab/**/*.py")) if "node_modules" not in path.parts]
# What bench and chaos both need stands beside them, and so does what the tests need as well.
SHUT_TO_LAB = {
    "lab.bench": {"tests", "lab.chaos"},
    "lab.chaos": {"tests", "lab.bench"},
    "lab": {"tests", "lab.bench", "lab.chaos"},
}


def part_of(name: str) -> str:
    """Return whether a file of the lab is one of bench, of chaos, or of both."""
    return next(part for part in SHUT_TO_LAB if module_of(name).startswith(f"{part}."))


def named(name: str) -> set[str]:
    """Return each module that a file imports, also for type checkers alone, and each thing that it takes from one."""
    found = set()
    for node in ast.walk(parse(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = imported_from(node, module_of(name))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def named_of(name: str, packages: set[str]) -> set[str]:
    """Return what a file imports of these packages."""
    return {each for each in named(name) if any(f"{each}.".startswith(f"{package}.") for package in packages)}


@pytest.mark.parametrize("name", LAB)
def test_the_lab_imports_no_tests_and_its_parts_not_each_other(name):
    assert named_of(name, SHUT_TO_LAB[part_of(name)]) == set()


@pytest.mark.parametrize("name", LAB)
def test_the_lab_takes_nothing_private_of_the_product(name):
    taken = named_of(name, {"haulier", "app"})

    assert {each for each in taken if re.search(r"\._(?!_)", each)} == set()


@pytest.mark.parametrize("name", NAMES)
def test_the_product_imports_neither_the_lab_nor_the_tests(name):
    assert named_of(name, {"lab", "tests"}) == set()


def test_no_modules_of_the_lab_import_each_other_in_a_circle():
    modules = {module_of(name).removesuffix(".__init__"): name for name in LAB}

    assert circles({module: (named(name) & modules.keys()) - {module} for module, name in modules.items()}) == {}


def test_the_tests_above_see_every_part_of_the_lab_and_real_imports():
    assert {part_of(name) for name in LAB} == SHUT_TO_LAB.keys()
    assert named("lab/bench/measures/kill.py") >= {"lab.bench.notes", "lab.servers", "lab.bench.results.Spread"}
    assert named("lab/chaos/stage.py") >= {"lab.proxy.Proxy", "lab.chaos.processes", "haulier.local.guard"}


def test_what_a_worker_is_made_of_is_known_where_it_is_put_together_alone():
    importers = {name for name in NAMES for module, _ in imports(parse(name)) if module == "haulier.worker.assembly"}

    # So no thread and no step can ask for all of it.
    assert importers == {"haulier/worker/start.py"}


def fields_of(node: ast.ClassDef) -> list[str]:
    """Return what a dataclass is made with."""
    annotated = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    return [
        ast.unparse(each.target) for each in annotated if each.value is None or "init=False" not in ast.unparse(each)
    ]


def test_no_step_of_a_worker_is_made_with_all_that_is_shared():
    steps = [name for name in NAMES if room_of(name) == "worker.steps"]
    classes = [node for name in steps for node in ast.walk(parse(name)) if isinstance(node, ast.ClassDef)]

    assert {node.name: len(fields_of(node)) for node in classes if len(fields_of(node)) > MOST_FIELDS} == {}
    assert max(len(fields_of(node)) for node in classes) == MOST_FIELDS


@pytest.mark.parametrize("name", NAMES)
def test_imports_are_relative_within_the_application_and_nowhere_else(name):
    relative = {"app": name.startswith("app/"), "haulier": False}
    strays = [
        ast.unparse(node)
        for module, node in imports(parse(name), module_of(name))
        if (package := module.split(".")[0]) in relative and bool(getattr(node, "level", 0)) is not relative[package]
    ]

    # In a wheel the application is haulier.app, and a top-level `app` is somebody else's.
    assert strays == []


@pytest.mark.parametrize("name", NAMES)
def test_guests_stay_in_their_rooms(name):
    room = room_of(name)

    strays = {
        module
        for module, _ in imports(parse(name))
        if (guest := module.split(".")[0]) in GUESTS and room not in GUESTS[guest]
    }

    assert strays == set()


def test_the_package_itself_imports_flask_only_inside_its_factory():
    top = {
        module
        for node in parse("app/__init__.py").body
        for module, _ in imports(ast.Module([node], []), "app.__init__")
        if not isinstance(node, ast.FunctionDef)
    }

    assert top <= {"__future__", "typing"}


@pytest.mark.parametrize(
    ("entry", "absent"),
    [
        (", ".join(["worker", *MODULES]), ("flask", "werkzeug", "flask_smorest", "app", "gunicorn")),
        ("app.api", ("haulier.worker",)),
        ("app.http.application", ("app.api", "haulier.worker", "flask_smorest")),
        # What gunicorn's master loads.
        ("app.gunicorn_settings, app.http.gunicorn.buffering", ("flask", "werkzeug", "app.http.door")),
        (
            "haulier.queue.produce, haulier.queue.consume, haulier.queue.upkeep.migrate",
            ("flask", "haulier.kinds", "app", "haulier.worker", "requests"),
        ),
        (
            "haulier.domain.job, haulier.domain.outcome, haulier.domain.retry, haulier.domain.errors",
            ("psycopg2", "haulier.postgres", "haulier.queue", "flask"),
        ),
    ],
    ids=["library", "api", "http", "gunicorn", "queue", "domain"],
)
def test_importing_one_end_does_not_load_the_other(entry, absent):
    program = f"import sys, {entry}; print([name for name in {absent!r} if name in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": "postgres://nobody@nowhere/none"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stderr == ""
    assert done.stdout == "[]\n"


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


@pytest.mark.parametrize("name", NAMES)
def test_sql_is_in_sql_files_alone(name):
    statements = [text for text in strings(name) if SQL_LIKE.search(text)]

    assert statements == []


@pytest.mark.parametrize(
    ("text", "is_sql"),
    [
        ("SELECT 1", True),
        ("  SELECT id FROM job", True),
        ("BEGIN;", True),
        ("SET lock_timeout", True),
        ("DELETE", False),
        ("explain: SELECT a\nFROM b", True),
        ("DROP TABLE {}", True),
        ("Select one of them", False),
        ("COMMIT", True),
        ("with the job's id", False),
        ("UPDATE job\nSET x", True),
        ("INSERT INTO x", True),
    ],
)
def test_the_test_above_knows_sql_when_it_sees_it(text, is_sql):
    assert bool(SQL_LIKE.search(text)) is is_sql


ENVIRONMENT = {"environ", "environb", "getenv", "putenv"}


def reads_environment(name: str) -> bool:
    return any(
        # A request has an environ too.
        (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT and ast.unparse(node.value) != "request")
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
    lengths = [(len((ROOT / name).read_text().splitlines()), name) for name in NAMES]
    functions_by_length = [(length, where) for name in NAMES for where, length in functions(name)]

    for title, found in (("files", lengths), ("functions", functions_by_length)):
        print(f"The ten longest {title}:")
        for length, where in sorted(found, reverse=True)[:10]:
            print(f"{length:5} {where}")

    assert [where for length, where in lengths if length > LONGEST_FILE] == []
    assert [where for length, where in functions_by_length if length > LONGEST_FUNCTION] == []


def waits_by_sleeping(name: str) -> bool:
    """Tell whether it sleeps, or waits for an event that has no name and so is nobody's to set."""
    return any(
        isinstance(node, ast.Attribute)
        and (
            (node.attr == "sleep" and isinstance(node.value, ast.Name))
            or (node.attr == "wait" and ast.unparse(node.value).endswith("Event()"))
        )
        for node in ast.walk(parse(name))
    )


def test_nothing_sleeps_where_it_could_wait():
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


@pytest.mark.parametrize("name", NAMES)
def test_every_module_and_class_and_each_verb_of_the_queue_says_what_it_is(name):
    assert public_without_docstring(name) == []


def test_the_product_names_no_place_of_the_machine_it_was_made_on():
    places = re.compile(r"/(?:work|root|home/\w+)/|site-packages|index-url|find-links")

    found = [
        name
        for name in [*NAMES, *(str(path.relative_to(ROOT)) for path in ROOT.glob("haulier/**/*.sql"))]
        if places.search((ROOT / name).read_text())
    ]

    assert found == []
