"""How kinds become known, a team's own among them, and what is said about their settings."""

from __future__ import annotations

import importlib
import json
import re
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, ValidationError, fields

import haulier.testing
from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.kinds import Fail, JobCancelled, JobContext, PayloadSchema, StopReason, kind, load_kinds, warn_missing
from tests.kinds.kinds_tools import SECRET, a_context, ends_soon, perform, run, settings

ROOT = Path(__file__).parents[2]
FOUR = ("resize_image", "send_email", "summarize_text", "webhook_delivery")


def warnings_of(config: Config) -> list[str]:
    """Give what is said at start of the four kinds that come with Haulier."""
    kinds = load_kinds(config)
    return warn_missing([kinds[name] for name in FOUR], config)


def test_kind_of_a_teams_own_is_named_by_haulier_kinds(own_kinds, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    sys.modules.pop("example_kind", None)

    assert run("greet", {"name": "Ann"}, kinds=("example_kind",)) == {"greeting": "Hello, Ann!"}
    with pytest.raises(Fail, match="nobody to greet"):
        run("greet", {"name": "nobody"}, kinds=("example_kind",))
    with pytest.raises(Fail, match="the payload is invalid for greet: name: Missing data .* nam: Unknown field."):
        run("greet", {"nam": "Ann"}, kinds=("example_kind",))


def test_documented_changes_of_a_kind_take_old_and_new_payloads(own_kinds):
    text = (ROOT / "docs" / "kinds.md").read_text()
    part = text.partition("### Change a kind while jobs wait")[2].partition("\n## ")[0]
    renamed, lenient = re.findall(r"^```python\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    names = vars(importlib.import_module("tests.kinds.example_kind")).copy()

    exec(renamed, names)

    for payload in ({"name": "Ann"}, {"full_name": "Ann"}, {"name": "A", "full_name": "Ann"}):
        assert haulier.testing.perform(names["greet"], payload).result == {"greeting": "Hello, Ann!"}
    assert haulier.testing.perform(names["greet"], {}).error == "full_name is missing"
    exec(lenient, names)
    assert names["Greeting"]().load({"name": "Ann", "lang": "de"}) == {"name": "Ann"}


def test_documented_example_is_the_one_that_is_tested():
    example = (Path(__file__).parent / "example_kind.py").read_text()

    assert example in (ROOT / "docs" / "kinds.md").read_text()


def test_module_that_cannot_be_imported_stops_the_process_with_its_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for number, (source, complaint) in enumerate(
        (
            ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
            ("def (", "SyntaxError"),
            ("1 / 0", "ZeroDivisionError"),
            ("raise SystemExit(3)", "SystemExit: 3"),
            ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        )
    ):
        (tmp_path / f"broken_kind_{number}.py").write_text(source)

        with pytest.raises(ConfigError, match=f"HAULIER_KINDS: broken_kind_{number} cannot be imported: {complaint}"):
            load_kinds(settings(kinds=(f"broken_kind_{number}",)))

    with pytest.raises(ConfigError, match="HAULIER_KINDS: nowhere.kinds cannot be imported"):
        load_kinds(settings(kinds=("nowhere.kinds",)))


def test_name_that_is_none_is_refused(own_kinds):
    for name in ("", "Greet", "1greet", "greet me", "greet\n", "g" * 65, "ünder"):
        with pytest.raises(ConfigError, match="is not a valid name for a kind"):
            kind(name, schema=Schema)


def test_name_taken_by_another_module_is_refused(own_kinds):
    load_kinds(settings())

    with pytest.raises(ConfigError, match="'send_email' is defined twice, in haulier.kinds.included.send_email and"):
        kind("send_email", schema=Schema)(lambda context, payload: None)


def test_setting_of_a_teams_own_kind_is_checked_at_start_and_before_each_run(own_kinds):
    def check(config: Any) -> str | None:
        if config.storage_url == "wrong":
            raise ConfigError("STORAGE_URL is wrong")
        return "STORAGE_URL is odd" if config.storage_url == "memory://odd" else None

    kind("keep", schema=PayloadSchema, needs=("storage_url",), check=check)(lambda context, payload: "kept")
    odd, wrong, none = (settings(storage_url=url) for url in ("memory://odd", "wrong://", None))

    assert run("keep", {}, storage_url="memory://odd") == "kept"
    assert warn_missing([load_kinds(odd)["keep"]], odd) == ["STORAGE_URL is odd"]
    assert warn_missing([load_kinds(none)["keep"]], none) == ["STORAGE_URL not set: every keep job will fail"]
    with pytest.raises(Fail, match="keep needs STORAGE_URL, which is not set"):
        run("keep", {})
    assert load_kinds(wrong)
    with pytest.raises(ConfigError, match="STORAGE_URL"):
        load_kinds(settings(storage_url="wrong"))


def test_start_warns_of_missing_settings_short_secrets_and_files_on_a_disk_that_vanishes():
    bare = settings(webhook_secret=None, mail_from=None)
    heroku = settings(smtp_url="file:/app/mail", storage_url="file:/app/images", ephemeral_disk=True)
    complete = settings(smtp_url="smtp://localhost", storage_url="s3://bucket", ephemeral_disk=True)

    assert warnings_of(bare) == [
        "STORAGE_URL not set: every resize_image job without a target will fail",
        "SMTP_URL and MAIL_FROM not set: every send_email job will fail",
        "WEBHOOK_SECRET not set: every webhook_delivery job will fail",
    ]
    assert warnings_of(heroku) == [
        "SMTP_URL is a file: URL, but the disk of this platform is lost at every restart",
        "STORAGE_URL is a file: URL, but the disk of this platform is lost at every restart",
    ]
    assert warnings_of(complete) == []
    [short] = warnings_of(replace(complete, webhook_secret="whsec_dGVzdA=="))
    assert short.startswith("WEBHOOK_SECRET is short")


def test_payload_that_json_cannot_carry_is_final():
    for payload, complaint in (
        ({"text": "a\x00b"}, "text: Must not contain a NUL"),
        ({"text": "a\ud800b"}, "text: Must not contain half of a surrogate pair"),
        ({"te\udfffxt": "a"}, "Must not contain half of a surrogate pair"),
        ({"text": ["\x00"]}, "text: Must not contain a NUL"),
        ({"text": float("nan")}, "Must be JSON"),
        ({"text": "a", "sentences": float("inf")}, "Must be JSON"),
        ({"text": {"a": {"b": object()}}}, "Must be JSON"),
        ({"text": b"bytes"}, "Must be JSON"),
    ):
        with pytest.raises(Fail, match="the payload is invalid for summarize_text: ") as caught:
            run("summarize_text", payload)

        assert complaint in str(caught.value)
        json.dumps(str(caught.value), ensure_ascii=False).encode()
    # Text that only looks like an escaped NUL.
    assert run("summarize_text", {"text": r"C:\u0000 is a path."})["summary"] == r"C:\u0000 is a path."


def test_payload_that_is_no_object_or_nested_without_end_is_final():
    context = a_context("summarize_text")
    for payload in (None, [], "x", 5):
        context.job = context.job._replace(payload=payload)
        with pytest.raises(Fail, match="the payload is invalid for summarize_text"):
            perform(context)
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]

    with pytest.raises(Fail, match="Is nested too deeply"):
        run("webhook_delivery", {"url": "http://127.0.0.1:1/", "body": nested})


def test_null_counts_as_absent_in_optional_fields_only():
    class Payload(PayloadSchema):
        needed = fields.Integer(strict=True, required=True)
        maybe = fields.Integer(strict=True, load_default=7)

    assert Payload().load({"needed": 1, "maybe": None}) == {"needed": 1, "maybe": 7}
    with pytest.raises(ValidationError, match="may not be null"):
        Payload().load({"needed": None})


def test_wait_wakes_at_once_when_the_job_is_to_stop():
    context = a_context()
    timer = threading.Timer(0.1, context.stop, [StopReason.TIMEOUT])
    timer.start()

    with ends_soon(), pytest.raises(JobCancelled) as caught:
        context.wait(30)

    assert caught.value.reason is StopReason.TIMEOUT
    timer.join()


def test_first_reason_to_stop_is_the_one_that_counts():
    context = a_context()
    assert not context.cancelled
    context.raise_if_cancelled()

    context.stop(StopReason.SHUTDOWN)
    context.stop(StopReason.CANCELLED)

    assert context.cancelled
    assert context.stop_reason is StopReason.SHUTDOWN


def test_handler_that_eats_exceptions_does_not_eat_a_cancel(own_kinds):
    @kind("glutton", schema=PayloadSchema)
    def glutton(context: JobContext, payload: dict[str, Any]) -> str:
        try:
            context.raise_if_cancelled()
        except Exception:
            return "went on"
        return "not cancelled"

    context = a_context("glutton")
    context.stop(StopReason.CANCELLED)

    with pytest.raises(JobCancelled):
        perform(context)


WRONG: dict[str, tuple[Any, ...]] = {
    "webhook_secret": (
        *("whsec_", "whsec_not base64!", "whsec_MfKQ9r8GKYqrTwjUPD8I_-_-", "whsec_a", f"{SECRET} whsec_"),
    ),
    "outbound_allow_private": (
        *(("10.0.0.0/33",), ("10.0.0.1/8",), ("127.1",), ("2130706433",), ("*",), ("a b",), ("http://a",), ("a:b",)),
        *(("[::1",), ("-/8",)),
    ),
    "storage_url": ("images", "/var/images", "file:", "file://elsewhere/images", "s3"),
    "smtp_url": (
        *("mail.example.com", "http://mail.example.com", "smtp://", "file:", "file://elsewhere/mail"),
        *(f"smtp://a:MfKQ9r8G@host:{part}" for part in ("99999", "0", "25?tls=1", "25/path")),
    ),
    "mail_from": ("nobody", "a@b.c\nBcc: x@y.z"),
}


def test_setting_that_is_wrong_stops_the_process_and_shows_no_secret():
    for name, values in WRONG.items():
        for value in values:
            with pytest.raises(ConfigError, match=name.upper()) as caught:
                load_kinds(settings(**{"smtp_url": "smtp://host", name: value}))

            assert "MfKQ9r8G" not in str(caught.value)


def test_refuses_a_handler_of_which_a_call_only_makes_an_object(own_kinds):
    async def waits(context, payload):
        pass

    async def streams(context, payload):
        yield 1

    def yields(context, payload):
        yield 1

    class Waits:
        async def __call__(self, context, payload):
            pass

    said = {waits: "async function", partial(waits): "async function", Waits(): "async function"}
    said |= {streams: "async generator", yields: "is a generator"}
    for handler, problem in said.items():
        with pytest.raises(ConfigError, match=f"the handler of the kind 'never' .*{problem}"):
            kind("never", schema=PayloadSchema)(handler)
    assert "never" not in load_kinds(settings())
