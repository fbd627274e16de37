"""schedules.toml, as it is read: it ..."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.domain.schedules.schedule import Missed, Overlap, Rule
from haulier.kinds import Kind, load_kinds
from haulier.kinds.sdk.payload import faults
from haulier.queue.schedules.schedule_file import apply_file
from haulier.schedules_toml import FaultyFile, read_schedules
from tests.web import EMAIL, client, make_app  # noqa: F401  # fixtures

JOB = {**EMAIL}
BODY: dict[str, Any] = {"cron": "0 2 * * *", "job": JOB}


@pytest.fixture
def kinds(config: Config) -> dict[str, Kind]:
    return load_kinds(config)


def toml(value: Any) -> str:
    """Return a value of JSON as TOML writes it, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def write(folder: Path, text: str) -> Path:
    path = folder / "schedules.toml"
    path.write_text(text, encoding="utf-8")
    return path


def one(folder: Path, body: Any, name: str = "nightly") -> Path:
    return write(folder, f"[schedules]\n{json.dumps(name)} = {toml(body)}\n")


def told(path: Path, kinds: dict[str, Kind] | None) -> list[str]:
    with pytest.raises(FaultyFile) as raised:
        read_schedules(path, kinds)
    return [fault.removeprefix(f"{path}: ") for fault in raised.value.faults]


def test_reads_what_a_schedule_is_to_do(tmp_path, kinds):
    found = read_schedules(
        write(
            tmp_path,
            """
            [schedules.nightly]
            cron = " 30  2 * * MON "
            time_zone = "Europe/Berlin"
            overlap = "queue_one"
            missed = "all"
            missed_max = 7
            jitter_seconds = 60
            [schedules.nightly.job]
            kind = "summarize_text"
            payload = { text = "One.", sentences = 2.0 }
            tags = ["a"]
            timeout_seconds = 9
            [schedules."of.ten"]
            every_seconds = 5
            job = { kind = "summarize_text", payload = { text = "One." } }
            """,
        ),
        kinds,
    )

    defaults = {"kind": "summarize_text", "queue": "default", "priority": 0, "max_attempts": 3}
    job = {**defaults, "payload": {"text": "One.", "sentences": 2}, "tags": ["a"], "timeout_seconds": 9}
    assert found == {
        "nightly": Rule(
            job, "30 2 * * MON", None, "Europe/Berlin", Overlap.QUEUE_ONE, Missed.ALL, 7, 86_400, jitter_seconds=60
        ),
        "of.ten": Rule({**defaults, "payload": {"text": "One."}}, every_seconds=5),
    }
    assert type(found["nightly"].job["payload"]["sentences"]) is int


# Changes to a valid schedule, each of which makes it invalid.
WRONG: list[dict[str, Any]] = [
    {"cron": "61 * * * *"},
    {"cron": "x" * 300},
    {"every_seconds": 5},
    {"cron": "0 0 31 2 *"},
    {"time_zone": "Mars/Olympus"},
    {"overlap": "never"},
    {"overlap": []},
    {"missed": "some"},
    {"missed_max": 5},
    {"missed": "all", "missed_max": 1001},
    {"jitter_seconds": 90_000},
    {"jitter_seconds": True},
    {"hourly": True},
    {"job": {}},
    {"job": {**JOB, "delay_seconds": 5, "idempotency_key": "k"}},
    {"job": {**JOB, "kind": "nope"}},
    {"job": {**JOB, "payload": []}},
    {"job": {**JOB, "payload": {**JOB["payload"], "more": 1, "subject": 5}}},
    {"job": {**JOB, "queue": "A queue"}},
    {"job": {**JOB, "priority": "5"}},
    {"job": {**JOB, "tags": ["a", "a"]}},
    {"job": {**JOB, "tags": "a"}},
    {"job": {**JOB, "more": 1}},
    {"jitter_seconds": -1, "overlap": "never", "job": {**JOB, "queue": ""}},
]


def test_refuses_what_the_api_refuses_in_the_same_words(client, tmp_path, kinds):  # noqa: F811
    wrong = []
    for body in WRONG:
        schedule = {**BODY, **body}
        answer = client.put("/schedules/nightly", json=schedule)
        said = {fault.removeprefix("nightly: ") for fault in told(one(tmp_path, schedule), kinds)}
        of_the_api = {f"{path}: {text}" for path, text in faults(answer.json["details"])}
        places = {fault.split(":")[0].split(".")[0] for fault in said}
        if answer.status_code != 422 or said != of_the_api or not places <= {*body, "cron"}:
            wrong.append((body, answer.status_code, said, of_the_api))

    assert wrong == []


RIGHT: list[dict[str, Any]] = [
    {},
    {"cron": "@daily", "time_zone": "America/New_York", "jitter_seconds": 5},
    {"overlap": "skip", "missed": "all", "missed_max": 3},
    {"missed": "all", "missed_within_seconds": 60},
    {"job": {**JOB, "queue": "bulk", "priority": -5, "max_attempts": 9, "timeout_seconds": 60, "tags": ["b", "a"]}},
    {"job": {**JOB, "tags": []}},
    {"job": {"kind": "webhook_delivery", "payload": {"url": "https://a.example/", "body": {"n": [1, 2.5, True]}}}},
]


def test_stores_what_the_api_stores(client, tmp_path, kinds, conn, sql):  # noqa: F811
    for number, body in enumerate(RIGHT):
        assert client.put(f"/schedules/api-{number}", json={**BODY, **body}).status_code == 201
    lines = "".join(f"file-{number} = {toml({**BODY, **body})}\n" for number, body in enumerate(RIGHT))

    apply_file(conn, read_schedules(write(tmp_path, f"[schedules]\n{lines}"), kinds), retention_days=30)

    same = (
        "cron, every_seconds, time_zone, job, overlap, missed, missed_max, missed_within_seconds, jitter_seconds,"
        " next_at, paused_since"
    )
    unlike = f"""
        SELECT right(name, 1) FROM haulier.schedule
        GROUP BY 1 HAVING count(*) <> 2 OR count(DISTINCT ({same})) <> 1
    """
    assert sql("SELECT count(*) FROM haulier.schedule") == [(2 * len(RIGHT),)]
    assert sql(unlike) == []


def test_refuses_what_no_payload_can_hold(tmp_path, kinds):
    expected = {
        "n = 1979-05-27": (
            "job.payload.n: Must not be a date or time, which JSON does not support: write it in quotes."
        ),
        "n = [07:32:00]": "job.payload.n[0]: Must not be a date or time",
        "n.a = inf": "job.payload.n.a: Must be a number that JSON supports.",
        "n = nan": "job.payload.n: Must be a number that JSON supports.",
        f"n = {2**64}": "job.payload.n: Must fit into 64 bits.",
        f"{'n.' * 70}n = 1": "Is nested more than 64 levels deep.",
        f"n = {'[' * 70}{']' * 70}": "Is nested more than 64 levels deep.",
        f'n = "{"x" * 300_000}"': "job.payload: Has 300008 bytes as JSON; at most 262144 are allowed.",
        'n = "\\u0000"': "job.payload.n: Must not contain a NUL character.",
        'n = {"\\u0000" = 1}': "job.payload.n: Must not contain a NUL character.",
    }
    head = '[schedules.nightly]\ncron = "@daily"\njob.kind = "webhook_delivery"\n[schedules.nightly.job.payload]\n'

    said = {text: told(write(tmp_path, f"{head}{text}\n"), kinds) for text in expected}

    assert {text: said[text] for text in expected if not any(expected[text] in fault for fault in said[text])} == {}


def test_refuses_a_name_that_no_schedule_has(tmp_path, kinds):
    for name in ("Nightly", "", "1st", "a b", "x" * 65, "preview"):
        [fault] = told(one(tmp_path, BODY, name), kinds)

        assert fault.startswith(f"{name}: ")


def test_says_that_a_pause_is_not_for_the_file(tmp_path, kinds):
    faults_of_it = told(one(tmp_path, {**BODY, "paused": True}), kinds)

    assert faults_of_it == [
        "nightly: paused: Not allowed in the file, which each release applies again: use `haulier schedules pause`"
        " instead."
    ]


def test_shows_no_secret(tmp_path, config, own_kinds, monkeypatch):
    monkeypatch.delitem(sys.modules, "tests.hostile.secretive", raising=False)
    secretive = load_kinds(replace(config, kinds=("tests.hostile.secretive",)))
    body = {"every_seconds": 5, "job": {"kind": "secretive", "payload": {"how": "a", "token": "wrong swordfish"}}}

    said = told(one(tmp_path, body), secretive)

    assert said
    assert "swordfish" not in str(said)


def test_says_in_a_line_that_it_is_no_such_file(tmp_path):
    path = tmp_path / "schedules.toml"
    expected = {
        b"[schedules": "is not TOML in UTF-8: ",
        b"[schedules]\na = 1\na = 2": "is not TOML in UTF-8: ",
        b'[schedules]\na = "\xff"': "is not TOML in UTF-8: ",
        b"a = " + b"[" * 5000: "is not TOML in UTF-8: ",
        b"#" * (4 * 1024 * 1024 + 1): "is longer than",
        b"[schedules]\n" + b"a." * 50_000 + b"a = 1": "a key has more than 80 parts (at line 2)",
        b"[schedules." + b"a . " * 50_000 + b"a]": "a key has more than 80 parts",
        b"[schedules]\nb = {c = 1, " + b"'a'.\"a\"." * 20_000 + b"a = 1}": "a key has more than 80 parts",
        b'[schedules]\nb = {c = """d"""", ' + b"a." * 50_000 + b"a = 1}": "a key has more than 80 parts",
        None: "cannot read",
    }

    for raw, said in expected.items():
        path.unlink(missing_ok=True)
        if raw is not None:
            path.write_bytes(raw)
        with pytest.raises(ConfigError) as raised:
            read_schedules(path, None)

        assert said in str(raised.value)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 500


def test_takes_text_that_looks_like_a_key_of_too_many_parts(tmp_path):
    dots = "a." * 1000
    payload = f"""{{ a = "{dots}", b = '{dots}', c = "\\"{dots}" }}"""
    text = (
        f"[schedules.a]  # {dots}\nevery_seconds = 5\n[schedules.a.job]\nkind = 'mail'\npayload.plain = {payload}\n"
        f'payload.lines = """\n{dots}\n""""\npayload.literal = \'\'\'\n{dots}\n\'\'\'\n'
        f"payload.{'.'.join('k' * 50)} = 1.5\n"
    )

    rule = read_schedules(write(tmp_path, text), None)["a"]

    assert rule.job["payload"]["lines"] == f'{dots}\n"'
    assert rule.job["payload"]["plain"]["c"] == f'"{dots}'


def test_refuses_what_is_no_table(tmp_path):
    texts = ["schedules = 1", "schedules = []", "[schedules]\nnightly = 1"]

    assert [len(told(write(tmp_path, text), None)) for text in texts] == [1, 1, 1]
