"""gunicorn's threaded worker, changed so that a slow client costs a connection and never a thread.

A thread gets a request when all of it has come, and hands back the part of the answer that it could not send at once.
The main thread, which in gunicorn waits for idle connections anyway, waits for the clients, each with a deadline. If
there are too many connections, or too many of their bytes are kept, the slowest are closed.

Source: gunicorn 27's gthread.py, whose threads wait for the bodies, for the first byte (5 s) and for slow readers, and
whose main thread lingers for 2 s on each connection that it closes.
"""

from __future__ import annotations

import errno
import selectors
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from haulier.libc import give_back_large_blocks

from ..routes import BODY_BYTES, LARGE_BYTES
from . import outgoing
from .inbox import WAITING, Inbox, Stage
from .incoming import Incoming
from .large import Large
from .outbox import CONTINUE, Outbox

HEAD_SECONDS = 10.0
# The time for a body or an answer: this, and as much again as its length takes at LEAST_RATE, in bytes a second.
TRANSFER_SECONDS = 10.0
LEAST_RATE = 50_000.0
LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 1024
# How many bytes a process keeps for slow clients: unfinished requests, and answers that they have not taken yet.
KEPT_BYTES = 64 * 1024 * 1024
# Deadlines and KEPT_BYTES are checked after this time, or after this many bytes have been received.
LOOK_SECONDS, LOOK_BYTES = 0.25, 8 * 1024 * 1024
# This many connections are kept free by closing the slowest.
SPARE_CONNECTIONS = 10
TELL_SECONDS = 60.0
# Python's switch interval while a large request is at work: a small one then takes 13 ms, not 24. Else it costs 4 %.
SWITCH_SECONDS, USUAL_SWITCH_SECONDS = 0.0005, sys.getswitchinterval()

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
HEAD_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

# What a thread returns for a request that has not come whole.
WAIT = object()


@dataclass(slots=True)
class _Watch:
    """A connection on which the main thread waits for the client. Units: since and deadline by the monotonic clock."""

    since: float
    deadline: float
    ready: Callable[[Any], None]
    # The stage of the request that is awaited; None if an answer or the end is.
    stage: Stage | None = None
    kept: int = 0


class BufferingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The worker of gunicorn_settings.py."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watched: dict[Any, _Watch] = {}
        self._look_at, self._received, self._in_hand = 0.0, 0, 0
        self._accept_at = self._tell_at = 0.0
        # Large requests use half of the threads at most, so that small ones always find one.
        self._large = Large(max(1, self.cfg.threads // 2))
        self._longer: dict[tuple[str, str], int] = {}

    def init_process(self) -> None:
        """Begin to serve, in the process that gunicorn has forked."""
        give_back_large_blocks()
        outgoing.use()
        # As plain attributes: gunicorn calls a function for each setting, 26 of them for a request.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application, and ask it which of its routes take longer bodies than others."""
        super().load_wsgi()
        longer = getattr(self.wsgi, "longer_bodies", None)
        if longer is None:
            # An operator has wrapped the application in a WSGI callable of their own.
            self.log.warning("the application does not say which routes accept bodies over 1 MiB, so none does")
        else:
            self._longer = longer

    # In a thread

    def handle(self, conn: Any) -> object:
        """Answer a request if it has come whole, without waiting for the client."""
        if self.cfg.is_ssl:
            return super().handle(conn)
        try:
            stage = self._advance(conn)
        except OSError:
            return False
        if conn.parser.inbox.is_over:
            return False
        if stage is None or stage in WAITING or stage is Stage.HEAD_TOO_LONG:
            return WAIT
        sock, conn.sock = conn.sock, Outbox(conn.sock)
        try:
            return super().handle(conn)
        finally:
            conn.outbox, conn.sock = conn.sock, sock
            with suppress(OSError):
                conn.outbox.flush()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer an invalid request, unless an answer has begun: a second would be read as that to the next request."""
        if isinstance(client, Outbox) and client.has_begun:
            self.log.warning("a response broke off: %s", exc)
        else:
            super().handle_error(req, client, addr, exc)

    def _advance(self, conn: Any) -> Stage | None:
        """Read the bytes that have come; return None for a large request, which has to wait for its turn."""
        if conn.parser is None:
            conn.parser = Incoming(self.cfg, conn.client, self._longer)
            # Otherwise gunicorn's thread would wait for the first byte.
            conn.data_ready = True
            conn.began, conn.is_received, conn.outbox = time.monotonic(), False, None
        # The main thread has already received a request that it waited for, and has given it its turn if it is large. A
        # request that came in one piece is received here.
        was_routed, conn.is_received = conn.is_received, False
        if not was_routed:
            conn.parser.inbox.receive(conn.sock)
        is_in_turn = was_routed or len(conn.parser.inbox) <= LARGE_BYTES
        stage: Stage = conn.parser.advance(takes_body=is_in_turn)
        return stage if is_in_turn else None

    # In the main thread

    def is_parent_alive(self) -> bool:
        """Return whether gunicorn's master is; otherwise this process stops, as at SIGTERM.

        gunicorn leaves its loop but not `alive`: a connection kept from then on held the process for 25 s.
        """
        is_alive = bool(super().is_parent_alive())
        if not is_alive:
            self.alive = False
        return is_alive

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept new connections or not; while all threads are busy, they are left to the other processes.

        Otherwise connections that come together would all go to the process that wakes first, and stay there.
        """
        has_thread = self._in_hand < self.cfg.threads
        super().set_accept_enabled(enabled and has_thread and time.monotonic() >= self._accept_at)

    def accept(self, listener: Any) -> None:
        """Accept a new connection, unless all threads are busy."""
        if self._in_hand >= self.cfg.threads:
            self.set_accept_enabled(False)
            return
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._yield_files(error)

    def _yield_files(self, error: OSError) -> None:
        """Free files by closing the slowest connections; if there are none, accept nothing for a moment."""
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + TELL_SECONDS
            self.log.warning("a connection could not be accepted: %s", error.strerror)
        freed = sum(self._make_room() for _ in range(SPARE_CONNECTIONS))
        if not freed:
            self._accept_at = now + LOOK_SECONDS
            self.set_accept_enabled(False)

    def enqueue_req(self, conn: Any) -> None:
        """Hand a connection to a thread."""
        self._in_hand += 1
        super().enqueue_req(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Go on with a connection that a thread has handed back."""
        self._in_hand -= 1
        if self.cfg.is_ssl:
            super().finish_request(conn, fs)
            return
        if self._large.leave(conn):
            sys.setswitchinterval(USUAL_SWITCH_SECONDS)
        self._start_large()
        try:
            result = fs.result()
            if result is WAIT:
                self._await_request(conn)
            elif getattr(conn, "outbox", None):
                self._await_reader(conn, result)
            else:
                self._go_on(conn, result)
        except Exception:
            self._drop(conn)

    def _go_on(self, conn: Any, is_kept: object) -> None:
        conn.outbox = None
        if not is_kept:
            self._linger(conn)
            return
        inbox: Inbox = conn.parser.inbox
        inbox.begin()
        conn.began = time.monotonic()
        if inbox.has_more:
            self._route(conn, inbox.look())
            return
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + LINGER_SECONDS)
        self.keepalived_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, lambda _: self._on_idle(conn))

    def _on_idle(self, conn: Any) -> None:
        conn.began = time.monotonic()
        self.on_client_socket_readable(conn, conn.sock)

    def _await_request(self, conn: Any) -> None:
        self._route(conn, conn.parser.inbox.look())

    def _route(self, conn: Any, stage: Stage) -> None:
        """Hand the request to a thread, or wait for the rest of it."""
        inbox: Inbox = conn.parser.inbox
        if inbox.is_over:
            self._drop(conn)
        elif stage is Stage.HEAD_TOO_LONG:
            self._refuse(conn, HEAD_TOO_LONG)
        elif stage in WAITING:
            self._watch_request(conn, stage)
        else:
            conn.is_received = True
            self._enqueue_whole(conn, inbox)

    def _enqueue_whole(self, conn: Any, inbox: Inbox) -> None:
        if len(inbox) <= LARGE_BYTES:
            self.enqueue_req(conn)
        # Before the head is parsed, the longest body of its route is not known.
        elif self._large.add(conn, len(inbox), inbox.most or BODY_BYTES, time.monotonic()):
            self._start_large()
        else:
            self._refuse(conn, BUSY)

    def _start_large(self) -> None:
        for conn in self._large.start():
            sys.setswitchinterval(SWITCH_SECONDS)
            self.enqueue_req(conn)

    def _watch_request(self, conn: Any, stage: Stage) -> None:
        inbox: Inbox = conn.parser.inbox
        seconds = HEAD_SECONDS
        if stage is Stage.EMPTY:
            # As long as an idle connection: browsers and routers connect ahead of their requests.
            seconds = float(self.cfg.keepalive)
        elif stage is Stage.BODY:
            seconds = TRANSFER_SECONDS + (inbox.missing + len(inbox)) / LEAST_RATE
            self._encourage(conn)
        watch = _Watch(conn.began, conn.began + seconds, lambda _: self._on_more(conn), stage, len(inbox))
        self._watch(conn, selectors.EVENT_READ, watch)

    def _encourage(self, conn: Any) -> None:
        """Send 100 Continue, once, to a client that asks for it before it sends a long body."""
        inbox: Inbox = conn.parser.inbox
        if inbox.expects_continue:
            inbox.expects_continue = False
            with suppress(BlockingIOError):
                conn.sock.send(CONTINUE, socket.MSG_DONTWAIT)

    def _on_more(self, conn: Any) -> None:
        inbox: Inbox = conn.parser.inbox
        watch = self._watched[conn]
        stage = inbox.receive(conn.sock)
        self._received += len(inbox) - watch.kept
        watch.kept = len(inbox)
        if stage is watch.stage and not inbox.is_over:
            return
        if watch.stage is Stage.EMPTY:
            conn.began = time.monotonic()
        self._unwatch(conn)
        self._route(conn, stage)

    def _await_reader(self, conn: Any, is_kept: object) -> None:
        now = time.monotonic()
        seconds = TRANSFER_SECONDS + len(conn.outbox) / LEAST_RATE
        watch = _Watch(now, now + seconds, lambda _: self._on_writable(conn, is_kept), kept=len(conn.outbox))
        self._watch(conn, selectors.EVENT_WRITE, watch)

    def _on_writable(self, conn: Any, is_kept: object) -> None:
        conn.outbox.flush()
        self._watched[conn].kept = len(conn.outbox)
        if not conn.outbox:
            self._unwatch(conn)
            self._go_on(conn, is_kept)

    def _refuse(self, conn: Any, answer: bytes) -> None:
        with suppress(OSError):
            conn.sock.send(answer, socket.MSG_DONTWAIT)
        self._linger(conn)

    def _linger(self, conn: Any) -> None:
        """Close our side and wait for the client's close; else it may lose the answer's end (RFC 9112, 9.6)."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        now = time.monotonic()
        conn.drained = 0
        self._watch(conn, selectors.EVENT_READ, _Watch(now, now + LINGER_SECONDS, lambda _: self._on_leaving(conn)))

    def _on_leaving(self, conn: Any) -> None:
        try:
            rest = conn.sock.recv(LINGER_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        conn.drained += len(rest)
        if not rest or conn.drained >= LINGER_BYTES:
            self._drop(conn)

    # The connections that are watched

    def _watch(self, conn: Any, event: int, watch: _Watch) -> None:
        def ready(sock: Any) -> None:
            # The poller may have returned this connection before the loop closed it.
            if self._watched.get(conn) is watch:
                try:
                    watch.ready(sock)
                except OSError:
                    self._drop(conn)

        self._watched[conn] = watch
        self.poller.register(conn.sock, event, ready)

    def _unwatch(self, conn: Any) -> None:
        if self._watched.pop(conn, None) is not None:
            with suppress(OSError, KeyError, ValueError):
                self.poller.unregister(conn.sock)

    def _drop(self, conn: Any) -> None:
        self._unwatch(conn)
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """Close connections that are too slow; gunicorn calls this after every event, and each second."""
        while self.nr_conns > self.worker_connections - SPARE_CONNECTIONS and self._make_room():
            pass
        now = time.monotonic()
        if now < self._look_at and self._received < LOOK_BYTES:
            return
        self._look_at, self._received = now + LOOK_SECONDS, 0
        for conn in self._large.overdue(now):
            self._refuse(conn, BUSY)
        self._start_large()
        for conn, watch in list(self._watched.items()):
            # A process that stops waits only LINGER_SECONDS for a request.
            if now >= watch.deadline or (watch.stage and not self.alive and now >= watch.since + LINGER_SECONDS):
                self._expire(conn, watch)
        kept = sum(watch.kept for watch in self._watched.values())
        while kept > KEPT_BYTES and (conn := self._slowest(lambda watch: watch.kept > 0)):
            kept -= self._watched[conn].kept
            self._drop(conn)

    def _expire(self, conn: Any, watch: _Watch) -> None:
        if watch.stage in (Stage.HEAD, Stage.BODY):
            self._unwatch(conn)
            self._refuse(conn, TIMED_OUT)
        else:
            self._drop(conn)

    def _make_room(self) -> bool:
        if self.keepalived_conns:
            idle = self.keepalived_conns.popleft()
            self.poller.unregister(idle.sock)
            self._drop(idle)
            return True
        conn = self._slowest(lambda _: True)
        if conn is not None:
            self._drop(conn)
        return conn is not None

    def _slowest(self, among: Callable[[_Watch], bool]) -> Any:
        found = [(watch.since, conn) for conn, watch in self._watched.items() if among(watch)]
        return min(found, key=lambda each: each[0])[1] if found else None
