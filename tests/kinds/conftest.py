"""Servers for the kinds' tests to speak to; what they are is in kinds_tools.py."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from haulier.kinds.included.outbound import http_client
from tests.kinds.kinds_tools import Mailbox, Receiver, listening, receiving, run, serving_mail
from tests.kinds.pictures import data_url

AUTHORITY = Path(__file__).parent / "tls" / "authority.pem"


@pytest.fixture
def receiver(start_receiver: Callable[..., Receiver]) -> Receiver:
    return start_receiver()


@pytest.fixture
def start_receiver() -> Iterator[Callable[..., Receiver]]:
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(receiving(*args, **kwargs))


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the worker trust the tests' certificate authority, by the setting that OpenSSL itself reads."""
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    http_client.tls_context.cache_clear()
    yield
    http_client.tls_context.cache_clear()


@pytest.fixture
def mailbox(start_mailbox: Callable[..., Mailbox]) -> Mailbox:
    return start_mailbox()


@pytest.fixture
def start_mailbox() -> Iterator[Callable[..., Mailbox]]:
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(serving_mail(*args, **kwargs))


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Give a function that starts a server of raw sockets and returns its port."""
    with ExitStack() as stack:
        yield lambda speak: stack.enter_context(listening(speak))


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Give a function that sets what names resolve to, one answer per question; it returns the list of questions."""

    def answers(*rounds: list[str]) -> list[str]:
        asked: list[str] = []

        def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            found = rounds[min(len(asked), len(rounds)) - 1]
            return [
                (socket.AF_INET6, 1, 6, "", (each, port, 0, 0))
                if ":" in each
                else (socket.AF_INET, 1, 6, "", (each, port))
                for each in found
            ]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        return asked

    return answers


@pytest.fixture
def resize(tmp_path: Path) -> Callable[..., Any]:
    """Give a function that resizes into a folder of the test's own."""

    def run_it(source: bytes | str, **payload: Any) -> Any:
        url = data_url(source) if isinstance(source, bytes) else source
        given = payload.pop("settings", {"storage_url": f"file://{tmp_path}/images"})
        return run("resize_image", {"source": url, **payload}, **given)

    return run_it
