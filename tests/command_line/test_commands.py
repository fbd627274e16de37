"""The command as a whole: help, examples, exit codes as a shell sees them, no terminal. It ..."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from haulier.cli.parts.invocation import load
from haulier.cli.root import COMMANDS, ON_SERVER
from haulier.cli.server import ServerCommand
from haulier.queue import claims
from tests.api.conftest import Fail
from tests.command_line.conftest import ABSENT, SUMMARY, Run, in_terminal, leaves, not_refused
from tests.conftest import Sql
from tests.web import Server

# With ABSENT, the ids in the examples.
OPERATION = "01a2108e-9bc5-7bc3-a7c0-0000000000a1"
KEY = "k3xq0v9a2b7c"
WORKER = "01a2108e-9bc5-7bc3-a7c0-000000000008"
# What ends otherwise than well, as it should: the job is cancelled.
CODES = {"jobs watch": 8}


LEAVES = dict(leaves())
OVER_HTTP = {
    name: command
    for name, command in LEAVES.items()
    if name.split()[0] not in ON_SERVER and not isinstance(command, ServerCommand)
}


def test_knows_each_command_without_loading_it() -> None:
    for name, (place, help_text) in COMMANDS.items():
        command = load(place)
        assert command.name == name
        assert command.get_short_help_str(limit=200) == help_text


def test_ends_each_help_with_an_example(run: Run) -> None:
    wrong = {}
    for name in LEAVES:
        shown = run(*name.split(), "--help")
        body, _, example = shown.out.partition("\nExample:\n")
        is_good = (
            (shown.code, shown.err) == (0, "")
            and re.search(rf"\bhaulier {name}\b", example)
            and body.startswith(f"Usage: haulier {name} ")
            and max(map(len, body.splitlines())) <= 80
        )
        if not is_good:
            wrong[name] = shown

    assert len(LEAVES) > 50
    assert wrong == {}


CLEAR = """
    DELETE FROM haulier.operation;
    DELETE FROM haulier.schedule;
    DELETE FROM haulier.pause;
    DELETE FROM haulier.job;
    DELETE FROM haulier.finished_job WHERE kind <> 'mail'
"""


def prepare(name: str, run: Run, sql: Sql, server: Server) -> None:
    """Leave only what the examples of this command name."""
    sql(CLEAR)
    sql("INSERT INTO haulier.job (id, kind, payload) VALUES (%s, 'summarize_text', %s)", ABSENT, SUMMARY)
    if name.startswith("ops"):
        run("jobs", "cancel", "--kind", "summarize_text", "--all", "--yes", "--no-wait")
        sql("UPDATE haulier.operation SET id = %s", OPERATION)
    if name.startswith("schedules") and name != "schedules create":
        run("schedules", "create", "nightly", "summarize_text", SUMMARY, "--cron", "0 2 * * *")
    if name == "ops resume":
        run("ops", "cancel", OPERATION)
    if name in ("jobs retry", "jobs watch", "jobs delete"):
        run("jobs", "cancel", ABSENT)
    if name == "logout":
        run("login", "--url", server.url, "--profile", "local", input="key")


def test_runs_each_example(
    run: Run, server: Server, sql: Sql, fail: Fail, conn, counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = claims.register(conn, host="dock", pid=8, threads=8, queues=(), lease_seconds=600)
    sql("UPDATE haulier.worker SET id = %s WHERE id = %s", WORKER, str(worker))
    sql("INSERT INTO haulier.job (kind, payload) VALUES ('summarize_text', %s)", SUMMARY)
    fail("no luck")
    counted()
    (tmp_path / "jobs.ndjson").write_text(f'{{"kind": "summarize_text", "payload": {SUMMARY}}}\n')
    monkeypatch.chdir(tmp_path)

    wrong = {}
    for name, command in OVER_HTTP.items():
        if name.startswith("keys"):
            continue
        prepare(name, run, sql, server)
        for example in command.example.replace("http://127.0.0.1:8080", server.url).splitlines():
            words = shlex.split(example.rsplit("| ", 1)[-1])
            done = run(*words[1:], input="key\n")
            if done.code != CODES.get(name, 0) or words[: 1 + len(name.split())] != ["haulier", *name.split()]:
                wrong[example] = done

    assert wrong == {}
    assert [name for name, command in OVER_HTTP.items() if not command.example] == []


def test_runs_the_examples_of_keys(run: Run, database: str, sql: Sql) -> None:
    # The last by its name first: what is revoked cannot be rotated.
    names = sorted((name for name in OVER_HTTP if name.startswith("keys")), reverse=True)
    # Not by the shared service, which would ask everybody for a key from then on.
    run("keys", "create", "--name", "shop", "--scopes", "read", DATABASE_URL=database)
    sql("UPDATE haulier.api_key SET id = %s", KEY)
    ended = {name: run(*shlex.split(OVER_HTTP[name].example)[1:], DATABASE_URL=database) for name in names}

    assert len(ended) == 4
    assert {name: done.err for name, done in ended.items() if done.code} == {}


def test_lists_the_commands_if_none_is_given(process: Run) -> None:
    shown = process()

    assert (shown.code, shown.out) == (2, "")
    assert process("jobs", "show", ABSENT).code == 3
    assert all(re.search(rf"^  {name} ", shown.err, re.MULTILINE) for name in COMMANDS)


def test_says_in_a_line_how_it_is_used(run: Run) -> None:
    expected: dict[tuple[str, ...], str] = {
        ("job",): "No such command 'job'. Did you mean jobs?",
        ("job", "list"): "No such command 'job'. Did you mean jobs?",
        ("jobs", "lst"): "No such command 'lst'. Did you mean list?",
        ("frobnicate",): "No such command 'frobnicate' (see",
        ("enqueue", "mail", "{name:1}"): "Invalid value for '[JSON]': is not JSON",
        ("jobs", "list", "--ids", "--json"): "give either --ids or --json",
        ("jobs", "show"): "Missing argument 'ID'",
        ("jobs", "show", "7"): "is not an id such as",
        ("jobs", "list", "--status", "sad"): "'sad' is not one of",
        ("jobs", "list", "--payload", "x"): "must be PATH=VALUE",
        ("--profile", "p", "migrate"): "`haulier migrate` uses the database of DATABASE_URL",
        ("--url", "http://a.b", "schedules", "apply", "x"): "`haulier schedules apply` uses the database of",
    }

    assert not_refused(run, expected) == {}


def test_writes_no_escapes_without_a_terminal(process: Run, run: Run, job: str) -> None:
    plain, forced = process("jobs", "list"), process("jobs", "list", "--color", "always", TERM="xterm")

    assert "\x1b" not in plain.out
    assert "\x1b[" in forced.out
    assert job in forced.out
    assert "\x1b" not in process("jobs", "list", "--color", "never", FORCE_COLOR="1").out
    assert plain.out.encode().isascii()


def test_ends_quietly_when_its_reader_leaves(server: Server, sql: Sql, home: Path) -> None:
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 3000)")
    command = f"{sys.executable} -m haulier jobs list --limit 3000 --json | head -1; exit ${{PIPESTATUS[0]}}"
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "HAULIER_URL": server.url}

    done = subprocess.run(["bash", "-c", command], env=environ, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.count("\n") == 1


def test_draws_for_a_terminal(server: Server, home: Path, run: Run, fail: Fail) -> None:
    fail("no luck [red]really[/red] " + "and so on " * 30)
    shown = in_terminal(server, home, "jobs", "list")
    plain = in_terminal(server, home, "jobs", "list", NO_COLOR="1")

    assert "✖ failed" in shown
    assert "\x1b[1;31m" in shown
    assert "\x1b[1;31m" not in plain
    assert "ago" in shown or "now" in shown
    # rich 13 cuts within a word.
    assert re.search(r"no luck \[red\]really(\[/)?…", re.sub("\x1b\\[[0-9;]*m", "", shown))


def test_gives_a_shell_what_completes(run: Run, process: Run, server: Server, home: Path, tmp_path: Path) -> None:
    scripts = {shell: run("completion", shell).out for shell in ("bash", "zsh", "fish")}

    assert all("_HAULIER_COMPLETE" in script for script in scripts.values())
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "haulier").write_text(
        f'#!/bin/sh\ncd {Path(__file__).parents[2]}\nexec {sys.executable} -m haulier "$@"\n'
    )
    (folder / "haulier").chmod(0o755)
    asked = """
        eval "$(haulier completion bash)"
        offered() {
            COMPREPLY=(); COMP_WORDS=(haulier "$@"); COMP_CWORD=$#
            _haulier_completion haulier; echo "${COMPREPLY[@]}"
        }
        offered jo; offered jobs ca
        # On a busy machine the service may need more than the time that a Tab has.
        for attempt in 1 2 3 4 5; do kinds=$(offered enqueue summ); test -z "$kinds" || break; done; echo "$kinds"
        offered jobs list --statu; offered enqueue --profile ''
    """
    environ = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(home), "HAULIER_URL": server.url}

    done = subprocess.run(["bash", "-ec", asked], env=environ, capture_output=True, text=True, timeout=60)

    assert done.stdout.splitlines() == ["jobs", "cancel", "summarize_text", "--status", ""]
    assert done.stderr == ""
    kept = home / ".cache" / "haulier" / "completion.json"
    assert kept.stat().st_mode & 0o777 == 0o600
