"""What HAULIER_MIDDLEWARE names wraps each run. It ..."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.kinds import Fail, Retry, load_kinds
from haulier.testing import Performed, perform
from tests.testing import middleware_to_test as middleware
from tests.testing.kinds_to_test import naps, ways


@pytest.fixture(autouse=True)
def _nothing_noted() -> Iterator[None]:
    yield
    middleware.noted.clear()
    middleware.raises.clear()


def named(*names: str) -> dict[str, str]:
    return {"HAULIER_MIDDLEWARE": ", ".join(f"tests.testing.middleware_to_test:{name}" for name in names)}


def run(way: str, *names: str, **more: int) -> Performed:
    return perform(ways, {"way": way}, settings=named(*names), **more)


def test_is_entered_outermost_first_on_the_thread_of_the_handler():
    assert run("returns", "outer", "inner").result == {"attempts": 1}

    here = threading.current_thread().name
    entered = [f"outer enters test.ways on {here}", "inner enters"]
    assert middleware.noted == [*entered, "inner leaves", "outer leaves"]


def test_ends_the_run_with_what_it_raises_as_a_handler_would():
    for place, error, ending, said in (
        ("inner enters", ConnectionError("none left"), "retried", "ConnectionError: none left (middleware_to_test.py:"),
        ("inner leaves", OSError("gone"), "retried", "OSError: gone (middleware_to_test.py:"),
        ("outer leaves", SystemExit(3), "retried", "SystemExit: 3"),
        ("inner enters", Fail("closed for good"), "failed", "closed for good"),
        ("inner enters", Retry("busy", after=7), "retried", "busy"),
    ):
        middleware.noted.clear()
        middleware.raises = {place: error}

        outcome = run("returns", "outer", "inner")

        assert (outcome.ending, (outcome.error or "")[: len(said)]) == (ending, said)
        # Whoever has entered also leaves.
        assert middleware.noted[-1] == "outer leaves"
        assert ("inner leaves" in middleware.noted) is (place != "inner enters")


def test_cannot_hide_how_the_handler_ended():
    for way, ending, raised in (
        ("raises", "retried", "ValueError"),
        ("fails", "failed", "Fail"),
        ("snoozes", "snoozed", "Snooze"),
        ("exits", "retried", "SystemExit"),
    ):
        middleware.noted.clear()

        assert run(way, "outer", "swallows").ending == ending
        # A middleware outside of it would otherwise take the failed run for a success.
        assert middleware.noted[1:] == ["swallowed", f"outer sees {raised}", "outer leaves"]

    cancelled = perform(naps, {"seconds": [60]}, settings=named("outer", "swallows"), cancel_after=5)
    assert cancelled.cancelled
    assert middleware.noted[-2:] == ["outer sees JobCancelled", "outer leaves"]


def test_stops_for_a_cancel_or_a_timeout_like_a_handler():
    assert run("returns", "outer", "slow", timeout_seconds=5).error == "timed out after 5 s"
    assert perform(ways, {"way": "returns"}, settings=named("slow"), cancel_after=1).cancelled


def test_that_returns_no_context_manager_fails_the_attempt():
    error = run("returns", "no_manager").error

    assert error is not None
    assert error.startswith("TypeError: a middleware must return a context manager, but returned NoneType")


def test_that_cannot_be_found_stops_the_process_with_one_line():
    for name, complaint in (
        ("no_such:thing", "HAULIER_MIDDLEWARE: no_such cannot be imported: ModuleNotFoundError: No module named"),
        ("tests.testing.middleware_to_test:absent", "HAULIER_MIDDLEWARE: .* has no function 'absent'"),
        ("tests.testing.middleware_to_test:not_callable", "HAULIER_MIDDLEWARE: .* has no function 'not_callable'"),
        ("tests.testing.middleware_to_test", "HAULIER_MIDDLEWARE='.*': must be module:name, such as"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            load_kinds(Config.from_env({"DATABASE_URL": "postgres://nowhere/", "HAULIER_MIDDLEWARE": name}))
