"""The log: a record is a line or an object, at most 8 KB, says what it belongs to, and holds no secret."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from haulier import logs

log = logging.getLogger("haulier.test")


@pytest.fixture
def written() -> Iterator[Callable[[str], io.StringIO]]:
    """Give a function that sends the log, in a format, into a buffer; the root logger is put back after the test."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def start(log_format: str) -> io.StringIO:
        stream = io.StringIO()
        logs.setup(log_format, "INFO", stream)
        return stream

    yield start
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


def test_text_is_one_line_with_what_it_belongs_to(written):
    stream = written("text")

    with logs.bound(request_id="r1"):
        log.warning("failed %s", "twice", extra={"job_id": "j1", "kind": "mail", "attempt": 2})
    log.debug("unheard")

    [line] = stream.getvalue().splitlines()
    assert line.endswith("WARNING haulier.test: failed twice request_id=r1 job_id=j1 kind=mail attempt=2")


def test_each_record_of_a_cell_has_its_number(written, monkeypatch):
    monkeypatch.setattr(logs, "_of_process", {})
    text = written("text")
    logs.name_cell(2)
    log.info("next", extra={"job_id": "j1"})
    as_json = written("json")
    log.info("next")

    assert text.getvalue().endswith("next job_id=j1 cell=2\n")
    assert json.loads(as_json.getvalue())["cell"] == 2


def test_json_is_one_object_a_line(written):
    stream = written("json")

    log.info("sent é\n", extra={"job_id": "j1", "attempt": 1})
    log.info("next")

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first == {
        "time": first["time"], "level": "INFO", "logger": "haulier.test", "message": "sent é\n", "job_id": "j1",
        "attempt": 1,
    }  # fmt: skip
    assert first["time"].endswith("Z")
    assert "job_id" not in second


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_record_is_at_most_8_kib(written, log_format):
    for letter in ("x", "\x01", "é", '"', "\ud800"):
        stream, text = written(log_format), letter * 100_000

        try:
            raise ValueError(text)
        except ValueError:
            log.exception(text, extra={"job_id": text, "kind": "mail"})

        record = stream.getvalue()
        assert 300 < len(record.encode("utf-8", "backslashreplace")) <= 8192
        assert log_format == "text" or json.loads(record)["kind"] == "mail"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_end_of_a_traceback_is_kept(written, log_format):
    stream = written(log_format)

    # Two by turns: a line that is repeated is shown but thrice.
    def deep(levels: int) -> None:
        if levels == 0:
            raise ValueError("the reason")
        deeper(levels - 1)

    def deeper(levels: int) -> None:
        deep(levels)

    try:
        deep(300)
    except ValueError:
        log.exception("failed")

    assert "ValueError: the reason" in stream.getvalue()
    assert 4000 < len(stream.getvalue()) <= 8192


def test_a_message_cannot_begin_a_line_of_its_own(written):
    stream = written("text")

    try:
        raise ValueError("a\n2026-01-01T00:00:00.000Z INFO forged: line")
    except ValueError:
        log.exception("b\r\n2026-01-01T00:00:00.000Z INFO forged: line\x1b[2J\u2028")

    lines = stream.getvalue().splitlines()
    assert all(line.startswith(" ") for line in lines[1:])
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_password_in_a_url_is_not_written(written, log_format):
    stream = written(log_format)

    try:
        raise ValueError("cannot reach postgres://app:s3cret@db/x")
    except ValueError:
        log.exception("failed at %s", "smtp://me:s3cret@mail:25")

    assert "s3cret" not in stream.getvalue()
    assert "smtp://me:***@mail:25" in stream.getvalue()


def test_a_password_is_masked_wherever_it_stands():
    shown = {
        "postgres://app:s3@cr@et@db/x": "postgres://app:***@db/x",
        "postgres://db/x?user=app&password=s3cret&a=b": "postgres://db/x?user=app&password=***&a=b",
        "invalid: host=db password=s3cret port=1": "invalid: host=db password=*** port=1",
        "http://:s3cret@h/ and a@b.c": "http://:***@h/ and a@b.c",
        "nothing to hide at http://h:80/x": "nothing to hide at http://h:80/x",
        "://a:" * 200_000: "://a:" * 200_000,
    }
    # The processor's time, so that a busy machine does not decide.
    started = time.thread_time()

    assert [text for text in shown if logs.redacted(text) != shown[text]] == []
    assert time.thread_time() - started < 3


def test_what_is_bound_in_one_thread_is_not_seen_in_another(written):
    stream = written("text")

    with logs.bound(request_id="r1"):
        thread = threading.Thread(target=log.info, args=["elsewhere"])
        thread.start()
        thread.join()
    log.info("after")

    assert "r1" not in stream.getvalue()


def test_a_stream_that_lacks_a_character_still_gets_the_record():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.setup("text", "INFO", stream)
        log.info("sent é \ud800")
    finally:
        root.handlers[:], root.level = before
        logging.captureWarnings(False)

    assert b"sent \\xe9 \\ud800\n" in stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_writes_a_message_whose_arguments_do_not_match(written):
    stream = written("text")

    log.info("one %s two %s", "a")

    assert "one %s two %s ('a',)" in stream.getvalue()


def test_the_log_goes_to_stdout(capsys, written):
    written("text")
    logs.setup("text", "INFO", sys.stdout)

    log.info("here")

    assert "here" in capsys.readouterr().out
