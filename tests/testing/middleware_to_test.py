"""Middleware as a team has it: each notes what it does, and one misbehaves as the test says."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace

noted: list[str] = []
# What the middleware raises at that place.
raises: dict[str, BaseException] = {}


def _note(what: str) -> None:
    noted.append(what)
    if error := raises.get(what):
        raise error


@contextmanager
def outer(context):
    _note(f"outer enters {context.job.kind} on {threading.current_thread().name}")
    try:
        yield
    except BaseException as error:
        noted.append(f"outer sees {type(error).__name__}")
        raise
    finally:
        _note("outer leaves")


@contextmanager
def inner(context):
    _note("inner enters")
    try:
        yield
    finally:
        _note("inner leaves")


@contextmanager
def swallows(context):
    try:
        yield
    except BaseException:
        noted.append("swallowed")


@contextmanager
def slow(context):
    context.wait(60)
    yield


def no_manager(context):
    """Return what is no context manager."""


not_callable = SimpleNamespace()
