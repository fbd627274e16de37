"""`haulier enqueue KIND`, and `--file`, of which each line is stored once: it ..."""

from __future__ import annotations

import hashlib
import json
import random
import re
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from haulier.cli.client import lines
from tests.command_line.conftest import SUMMARY, Run, in_terminal, lossy, not_refused
from tests.conftest import PATIENCE, Sql, eventually
from tests.docs.stack import _worker as worker
from tests.web import Server


def test_prints_only_the_id(run: Run) -> None:
    made = run("enqueue", "summarize_text", SUMMARY)

    assert (made.code, made.err) == (0, "")
    assert re.fullmatch(r"[0-9a-f-]{36}\n", made.out)
    assert run("jobs", "show", made.out.strip(), "--json").json["payload"] == json.loads(SUMMARY)


def test_passes_every_option_on(run: Run) -> None:
    options = ["--queue", "bulk", "--priority", "-5", "--max-attempts", "7", "--timeout", "2m", "--tag=a", "--tag=b"]

    made = run("enqueue", "summarize_text", "-", *options, "--delay", "1h30m", "--key", "k-1", "--json", input=SUMMARY)

    job = made.json
    assert {name: job[name] for name in ("queue", "priority", "max_attempts", "timeout_seconds", "tags")} == {
        "queue": "bulk", "priority": -5, "max_attempts": 7, "timeout_seconds": 120, "tags": ["a", "b"],
    }  # fmt: skip
    late = datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["created_at"])
    assert timedelta(minutes=89) < late < timedelta(minutes=91)
    assert job["idempotency_key"] == "k-1"
    at = run("enqueue", "summarize_text", SUMMARY, "--at", "2099-01-01T00:00:00+01:00", "--json").json
    assert at["run_at"] == "2098-12-31T23:00:00.000000Z"


def test_says_that_a_key_is_known(run: Run) -> None:
    first, again = (run("enqueue", "summarize_text", SUMMARY, "--key", "order-1") for _ in range(2))

    assert again.out == first.out
    assert again.err == "haulier: the idempotency key order-1 was used before: this is the existing job, queued\n"


def test_waits_for_the_end_and_exits_with_its_code(run: Run, database: str) -> None:
    mail = '{"to": "a@b.c", "subject": "Hi", "body": "Hello."}'
    job = run("enqueue", "summarize_text", SUMMARY, "--delay", "1d").out.strip()
    run("jobs", "cancel", job)

    with worker(database):
        done = run("enqueue", "summarize_text", SUMMARY, "--wait")
        shown = run("enqueue", "summarize_text", SUMMARY, "--wait", "30", "--json")
        # No SMTP_URL is set.
        failed = run("enqueue", "send_email", mail, "--wait", "1m")
        delayed = run("enqueue", "summarize_text", SUMMARY, "--delay", "1d", "--wait", "0.2s")
        watched = run("jobs", "show", job)

    assert (done.code, failed.code, delayed.code) == (0, 7, 124)
    assert re.search(r"haulier: succeeded, ran \d+ ms\nhaulier: result: \{", done.err)
    assert (shown.json["status"], shown.err.split(",")[0]) == ("succeeded", "haulier: succeeded")
    assert "haulier: failed permanently, ran" in failed.err
    assert "SMTP_URL" in failed.err
    assert delayed.err == f"haulier: {delayed.out.strip()} is queued after 200 ms\n"
    assert watched.code == 0


def test_exits_with_8_if_the_job_is_cancelled_meanwhile(start, run: Run) -> None:
    with start("enqueue", "summarize_text", SUMMARY, "--wait") as waiting:
        job = waiting.stdout.readline().strip()
        run("jobs", "cancel", job)
        code = waiting.wait(PATIENCE)

    assert code == 8


def test_says_in_a_line_what_is_wrong_with_an_argument(run: Run) -> None:
    expected: dict[tuple[str, ...], str] = {
        ("{",): "is not JSON",
        ("[1]",): "must be an object",
        (SUMMARY, "--delay", "soon"): "'soon' is not a duration such as 90s, 10m, 1h30m or 2d",
        (SUMMARY, "--at", "noon"): "'noon' is not a time such as 2026-12-01T09:00:00Z",
        (SUMMARY, "--at", "1h", "--delay", "1h"): "give either --delay or --at",
        (SUMMARY, "--timeout", "1.5"): "--timeout: must be whole seconds",
        (SUMMARY, "--priority", "high"): "'high' is not a valid integer",
        (SUMMARY, "--colour"): "No such option",
    }

    assert not_refused(run, {("enqueue", "summarize_text", *args): said for args, said in expected.items()}) == {}


def test_says_what_the_service_refuses(run: Run, server) -> None:
    host = server.url.removeprefix("http://")
    payload, kind = run("enqueue", "summarize_text", "{}"), run("enqueue", "no_such_kind")
    run("enqueue", "summarize_text", SUMMARY, "--key", "k")
    other = run("enqueue", "summarize_text", SUMMARY, "--key", "k", "--priority", "1")

    for refused in (payload, kind, other):
        assert refused.code == 1
        assert re.fullmatch(rf"haulier: {host} refuses: .+ \(request \S+\)\n", refused.err), refused.err
    assert "text" in payload.err


def test_stores_a_job_once_if_the_answer_is_lost(process: Run, run: Run, server) -> None:
    eventually(lambda: run("jobs", "count").code == 0)
    with lossy(server.url, lost=1) as url:
        made = process("enqueue", "summarize_text", SUMMARY, HAULIER_URL=url)

    assert made.code == 0, made.err
    assert "broke" in made.err
    assert [job["id"] for job in run("jobs", "list", "--json").lines] == [made.out.strip()]


def job(number: int = 0, **more: Any) -> dict[str, Any]:
    return {"kind": "summarize_text", "payload": {"text": f"Line {number}."}, **more}


def write(path: Path, *jobs: Any) -> str:
    path.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in jobs))
    return str(path)


@pytest.fixture
def texts(sql: Sql) -> Callable[[], list[str]]:
    """Give a function that returns the texts of all jobs, in order."""
    return lambda: [text for (text,) in sql("SELECT payload->>'text' FROM haulier.job ORDER BY 1")]


def count(sql: Sql) -> int:
    [(jobs,)] = sql("SELECT count(*) FROM haulier.job")
    return int(jobs)


def summary(line: str) -> list[int]:
    found = re.fullmatch(
        r"([\d,]+) lines: ([\d,]+) stored, ([\d,]+) known before, ([\d,]+) refused, in \d+\.\d s\n", line
    )
    assert found, line
    return [int(each.replace(",", "")) for each in found.groups()]


def test_stores_every_line_once_however_often_it_is_started(run: Run, tmp_path: Path, texts, monkeypatch) -> None:
    # A batch of ten would be longer than the service takes.
    monkeypatch.setattr(lines, "MOST_BYTES", 300)
    file = write(tmp_path / "jobs", *map(job, range(25)))

    first = run("enqueue", "--file", file, "--batch", "10")
    again = run("enqueue", "--file", file, "--batch", "10")
    anew = run("enqueue", "--file", file, "--from-start", "--json")

    assert (first.code, again.code, anew.code) == (0, 0, 0)
    assert summary(first.out) == summary(again.out) == [25, 25, 0, 0]
    assert again.err == "haulier: 25 lines were sent before; continuing at line 26\n"
    assert {name: anew.json[name] for name in ("lines", "stored", "known", "refused")} == {
        "lines": 25, "stored": 0, "known": 25, "refused": 0,
    }  # fmt: skip
    assert len(texts()) == 25


@pytest.mark.parametrize("size", [5_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_is_killed_five_times_and_stores_each_line_once(
    start, process: Run, sql: Sql, tmp_path: Path, texts, size: int
) -> None:
    file = write(tmp_path / "jobs", *map(job, range(size)))
    chance = random.Random(7)
    args = ("enqueue", "--file", file, "--batch", str(size // 100))

    kills = 0
    for part in range(1, 6):
        after = size * (part - chance.random() / 2) / 6
        with start(*args) as killed:
            eventually(lambda: killed.poll() is not None or count(sql) >= after)  # noqa: B023
            killed.send_signal(signal.SIGKILL)
            kills += killed.wait(PATIENCE) == -signal.SIGKILL
    last = process(*args)

    assert kills == 5
    assert last.code == 0, last.err
    assert re.fullmatch(r"haulier: [\d,]+ lines were sent before; continuing at line [\d,]+\n", last.err)
    lines, stored, known, refused = summary(last.out)
    assert (lines, stored + known, refused) == (size, size, 0)
    assert texts() == sorted(f"Line {number}." for number in range(size))


def test_sends_a_batch_again_whose_answer_was_lost(process: Run, server: Server, tmp_path: Path, texts) -> None:
    file = write(tmp_path / "jobs", *map(job, range(40)))

    with lossy(server.url, lost=2) as url:
        done = process("enqueue", "--file", file, "--batch", "10", HAULIER_URL=url)

    assert done.code == 0, done.err
    assert summary(done.out) == [40, 20, 20, 0]
    assert len(texts()) == 40


def test_keeps_lines_that_are_refused_with_the_reason(run: Run, tmp_path: Path, texts) -> None:
    bad = [{"kind": "no_such"}, "{", "[1]", '{"kind": "a", "kind": "b"}', '{"payload": NaN}', job(9, priority=1000)]
    file = write(tmp_path / "jobs", job(1), *bad, "", job(2))
    rejects = tmp_path / "rejects"

    done = run("enqueue", "--file", file, "--rejects", str(rejects))
    again = run("enqueue", "--file", file, "--rejects", str(rejects), "-q")

    assert (done.code, again.code) == (6, 6)
    assert summary(done.out)[:4] == [8, 2, 0, 6]
    assert (done.err, again.err) == ("", "")
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [each["line"] for each in kept] == [2, 3, 4, 5, 6, 7]
    assert [each["job"] for each in kept[:3]] == [{"kind": "no_such"}, "{", [1]]
    assert all(each["error"] and each["message"] for each in kept)
    assert kept[5]["details"].keys() == {"priority"}
    assert rejects.stat().st_mode & 0o777 == 0o600
    assert texts() == ["Line 1.", "Line 2."]


def test_shows_the_first_ten_that_are_refused(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "jobs", *[{"kind": "no_such\u001b"}] * 12)

    done = run("enqueue", "--file", file)

    assert done.code == 6
    assert len(done.err.splitlines()) == 11
    assert done.err.startswith("haulier: line 1 was refused: ")
    assert done.err.endswith("\nhaulier: 2 more lines were refused: use --rejects FILE to keep all of them\n")
    assert "\x1b" not in done.err


def test_keeps_a_line_once_that_was_refused_before_a_kill(run: Run, home: Path, tmp_path: Path) -> None:
    file, rejects = write(tmp_path / "jobs", *[{"kind": "no_such"}] * 4), tmp_path / "rejects"
    run("enqueue", "--file", file, "--batch", "2", "--rejects", str(rejects))
    [path] = (home / ".local" / "state" / "haulier" / "runs").glob("*.json")
    notes = json.loads(path.read_text())
    # As it was after the first batch: what came after it was written, and not yet noted.
    half = len(rejects.read_bytes()) // 2
    for note in notes.values():
        first = b"".join((tmp_path / "jobs").read_bytes().splitlines(keepends=True)[:2])
        note |= {"lines": 2, "refused": 2, "rejects_bytes": half, "digest": hashlib.sha256(first).hexdigest()}
    path.write_text(json.dumps(notes))

    done = run("enqueue", "--file", file, "--rejects", str(rejects))

    assert summary(done.out) == [4, 0, 0, 4]
    assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == [1, 2, 3, 4]


def test_uses_the_key_of_a_line_that_has_one(run: Run, tmp_path: Path, sql: Sql) -> None:
    file = write(
        tmp_path / "jobs", job(1, idempotency_key="mine"), job(1, idempotency_key="mine"), job(2, idempotency_key=None)
    )

    done = run("enqueue", "--file", file, "--run", "nightly")

    assert summary(done.out) == [3, 2, 1, 0]
    keys = [key for (key,) in sql("SELECT idempotency_key FROM haulier.jobs ORDER BY payload->>'text'")]
    assert keys == ["mine", "nightly:3"]


def test_reads_lines_as_other_systems_write_them(run: Run, tmp_path: Path, texts, monkeypatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 200)
    long = json.dumps(job(3, tags=["x" * 300])).encode()
    path = tmp_path / "jobs"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(job(1)).encode() + b"\r\n\r\n" + long + b"\r\n\xff\n" + json.dumps(job(2)).encode()
    )

    done = run("enqueue", "--file", str(path))

    assert summary(done.out) == [4, 2, 0, 2]
    assert "line 3 was refused: the line is longer than 200 bytes" in done.err
    assert "line 4 was refused: the line is not a JSON object in UTF-8" in done.err
    assert texts() == ["Line 1.", "Line 2."]


def test_goes_on_from_stdin_under_the_name_of_the_run(run: Run, texts) -> None:
    four = "".join(f"{json.dumps(job(number))}\n" for number in range(4))

    unnamed = run("enqueue", "--file", "-", input=four)
    name = re.match(
        r"haulier: this is the run ([0-9a-f]{16}): if it is interrupted, start again with --run \1", unnamed.err
    )
    again = run("enqueue", "--file", "-", "--run", name[1], input=four + json.dumps(job(4)))
    other = run("enqueue", "--file", "-", "--run", name[1], input=json.dumps(job(5)))

    assert summary(unnamed.out) == [4, 4, 0, 0]
    assert again.err == "haulier: 4 lines were sent before; continuing at line 5\n"
    assert summary(again.out) == [5, 5, 0, 0]
    assert other.code == 1
    assert other.err.startswith(
        f"haulier: the first 5 lines differ from those sent before as the run {name[1]}: use another"
    )
    assert len(texts()) == 5


def test_keeps_apart_what_several_services_have_stored(run: Run, server: Server, tmp_path: Path) -> None:
    file = write(tmp_path / "jobs", job(1))
    run("enqueue", "--file", file)

    # Here both have the same database.
    with lossy(server.url) as other:
        assert summary(run("enqueue", "--file", file, HAULIER_URL=other).out) == [1, 0, 1, 0]


def test_says_where_it_has_stopped(run: Run, server: Server, tmp_path: Path, texts, home: Path) -> None:
    file = write(tmp_path / "jobs", job(1))

    with lossy(server.url, refused=1) as url:
        stopped, going_on = (run("enqueue", "--file", file, HAULIER_URL=url) for _ in range(2))

    assert (stopped.code, going_on.code) == (4, 0)
    assert stopped.err.startswith("haulier: stopped at line 1; run the same command to continue there\nhaulier: ")
    assert texts() == ["Line 1."]
    [note] = (home / ".local" / "state" / "haulier" / "runs").glob("*.json")
    assert note.stat().st_mode & 0o777 == 0o600


def test_is_interrupted_and_goes_on(start, process: Run, tmp_path: Path, sql: Sql, texts) -> None:
    file = write(tmp_path / "jobs", *map(job, range(3000)))
    args = ("enqueue", "--file", file, "--batch", "20")

    with start(*args) as interrupted:
        eventually(lambda: count(sql) > 200)
        interrupted.send_signal(signal.SIGINT)
        code, said = interrupted.wait(PATIENCE), interrupted.stderr.read()

    assert code == 130
    assert re.fullmatch(
        r"haulier: stopped at line [\d,]+; run the same command to continue there\n", said.strip() + "\n"
    )
    assert process(*args).code == 0
    assert len(texts()) == 3000


def test_lets_one_process_at_a_time_send_a_run(run: Run, start, sql: Sql) -> None:
    with start("enqueue", "--file", "-", "--run", "shared", "--batch", "1") as first:
        first.stdin.write(json.dumps(job(1)) + "\n" + json.dumps(job(2)) + "\n")
        first.stdin.flush()
        # Whoever sends holds the run.
        eventually(lambda: count(sql) > 0)
        second = run("enqueue", "--file", "-", "--run", "shared", input="")
        first.stdin.close()
        assert first.wait(PATIENCE) == 0

    assert (second.code, second.err) == (1, "haulier: another process is sending the run shared\n")


def test_says_that_a_file_changes_while_it_is_read(run: Run, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "jobs"
    write(path, job(1))
    real = lines.measure

    def changed(file):
        measured = real(file)
        path.write_text(path.read_text().replace("1", "2"))
        return measured

    monkeypatch.setattr("haulier.cli.job_commands.enqueue_file.measure", changed)
    done = run("enqueue", "--file", str(path))

    assert done.code == 1
    assert done.err == "haulier: the file changed while it was read; 1 lines were sent\n"


def test_says_in_a_line_what_is_wrong_and_touches_no_file(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "jobs", job(1))
    expected: dict[tuple[str, ...], str] = {
        ("--file", "absent"): "cannot read absent: No such file or directory",
        ("--file", "-", "--run", "../x"): "--run: must be 1 to 64 letters",
        ("mail", "--file", "-"): "--file: each line says what the job is, so give no KIND and no options of a job",
        ("--file", "-", "--queue", "q"): "--file: each line says what the job is, so give no KIND and no options of"
        " a job",
        ("--file", file, "--rejects", str(tmp_path / "." / "jobs")): "--rejects and --file must be different files",
        ("--file", "-", "--rejects", "absent/rejects", "--run", "r"): "cannot write absent/rejects: No such file",
        (): "Missing argument 'KIND'",
        ("mail", "--key", "two words"): "--key: must be 1 to 255 visible ASCII characters",
    }

    assert not_refused(run, {("enqueue", *args): said for args, said in expected.items()}) == {}
    assert Path(file).read_text() == json.dumps(job(1)) + "\n"


def test_draws_a_bar_in_a_terminal(server: Server, home: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "jobs", *map(job, range(300)))

    shown = in_terminal(server, home, "enqueue", "--file", file, "--batch", "20")

    assert "Enqueuing" in shown
    assert "300/300" in shown
    assert "300 lines: 300 stored" in shown
