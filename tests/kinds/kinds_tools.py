"""What the kinds' tests speak to: real HTTP and SMTP servers on this machine, and jobs to run against them."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from haulier.config import Config
from haulier.domain.job import Job
from haulier.kinds import JobCancelled, JobContext, StopReason, load_kinds
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.included.outbound.http_client import download
from haulier.testing.performed import first_run

HERE = Path(__file__).parent
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOCAL = ("127.0.0.0/8", "::1")


def settings(**given: Any) -> Config:
    """Give the settings of a worker that may reach this machine and signs webhooks."""
    return Config(
        **{
            "database_url": "postgres://unused",
            "outbound_allow_private": LOCAL,
            "webhook_secret": SECRET,
            "mail_from": "Haulier <jobs@example.com>",
            **given,
        }
    )


# What is cancelled or cut off ends sooner than this, on a busy machine too: left alone it takes twice as long at least.
SOON = 5.0


def a_job(kind: str = "test", payload: dict[str, Any] | None = None, **given: Any) -> Job:
    return first_run(kind, payload or {})._replace(**given)


def a_context(kind: str = "test", payload: dict[str, Any] | None = None, **given: Any) -> JobContext:
    """Give a context as the worker makes it; settings are those of Config, by name."""
    return JobContext(job=a_job(kind, payload), settings=settings(**given))


def perform(context: JobContext) -> Any:
    """Run the context's job as the worker does."""
    return load_kinds(context.settings)[context.job.kind].perform(context)


def run(kind: str, payload: dict[str, Any], **given: Any) -> Any:
    return perform(a_context(kind, payload, **given))


def error_of(call: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    """Return the error that a call raises, such as "Fail: no", or "" if it raises none."""
    try:
        call(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@contextmanager
def ends_soon() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON


@contextmanager
def cancelled_once(predicate: Callable[[], object], context: JobContext) -> Iterator[None]:
    """Cancel the job of the block once the predicate is true, from another thread; the block has to end soon."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            if predicate():
                context.stop(StopReason.CANCELLED)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with ends_soon(), pytest.raises(JobCancelled) as caught:
            yield
    finally:
        over.set()
        thread.join()
    assert caught.value.reason is StopReason.CANCELLED


def fetch(url: str, limit: int = 1_000_000, seconds: float = 5.0, context: JobContext | None = None) -> bytes:
    """Download from this machine's 127.0.0.1."""
    with Deadline(context or a_context(outbound_allow_private=("127.0.0.1",)), seconds, "the test") as deadline:
        return download(deadline, url, limit)


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[BaseHTTPRequestHandler, Request], None]


@dataclass
class Receiver:
    """An HTTP server; `answer` decides what it says, by default 200 and "thanks"."""

    url: str = ""
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    answer: Answer | None = None

    def replies(self, status: int, body: bytes = b"", **headers: str) -> None:
        """From now on answer this."""
        self.answer = lambda handler, _: reply(handler, status, body, **headers)


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Send a whole answer; underscores in the headers' names are hyphens."""
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def endless(drop: bytes, pause: float = 0.0, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, _: Request) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        while not threading.Event().wait(pause):
            handler.wfile.write(drop)

    return answer


class QuietServer(ThreadingHTTPServer):
    """Does not report a client that goes away, nor wait for answers that never end: tests have both on purpose."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def tls_context() -> ssl.SSLContext:
    """Give the TLS of a server whose certificate the tests' authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HERE / "tls" / "server.pem")
    return context


@contextmanager
def receiving(answer: Answer | None = None, address: str = "127.0.0.1", tls: bool = False) -> Iterator[Receiver]:
    receiver = Receiver(answer=answer)

    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            receiver.connections += 1
            super().handle()

        def speak(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            receiver.requests.append(request)
            if receiver.answer:
                receiver.answer(self, request)
            else:
                reply(self, 200, b"thanks")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = speak

        def log_message(self, *_: object) -> None:
            pass

    class Server(QuietServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    with Server((address, 0), Handler) as server:
        if tls:
            server.socket = tls_context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        receiver.port = server.server_address[1]
        host = f"[{address}]" if ":" in address else address
        receiver.url = f"http{'s' if tls else ''}://{host}:{receiver.port}"
        with served(server):
            yield receiver


@dataclass
class Mail:
    sender: str
    recipients: list[str]
    content: bytes


@dataclass
class Mailbox:
    """An SMTP server; `refuse` maps a step ("RCPT ann@example.com", "DATA", …) to the answer it gets."""

    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    before_data: Callable[[], None] | None = None

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def _answer(self, step: str, server: Any) -> str:
        self.steps.append(step)
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return self.refuse.get(step, "250 OK")

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        envelope.mail_from = address
        return self._answer(f"MAIL {address}", server)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        envelope.rcpt_tos.append(address)
        return self._answer(f"RCPT {address}", server)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.before_data:
            self.before_data()
        if (answered := self._answer("DATA", server)) == "250 OK":
            self.mails.append(Mail(envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return answered

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"opensesame", handled=False)


@contextmanager
def serving_mail(tls: str = "", utf8: bool = False) -> Iterator[Mailbox]:
    """Give an SMTP server that offers a login; tls is "", "starttls" (required) or "tls" (from the first byte)."""
    mailbox = Mailbox(port=a_free_port())
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=mailbox.port,
        ssl_context=tls_context() if tls == "tls" else None,
        tls_context=tls_context() if tls == "starttls" else None,
        require_starttls=tls == "starttls",
        auth_require_tls=False,
        authenticator=mailbox.authenticate,
        enable_SMTPUTF8=utf8,
    )
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


def a_free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def listening(speak: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give the port of a server that hands each connection to the function, in a thread of its own."""
    taken: list[socket.socket] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            taken.append(self.request)
            with suppress(OSError):
                speak(self.request)

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        try:
            with served(server):
                yield server.server_port
        finally:
            for sock in taken:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


HELLO = {"to": "a@b.c", "subject": "Hello", "body": "How are you?"}


def send(mailbox: Mailbox, **payload: Any) -> Any:
    return run("send_email", {**HELLO, **payload}, smtp_url=mailbox.url)


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message
