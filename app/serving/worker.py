"""gunicorn's threaded worker, in which a client that is slow costs a connection, and never a thread.

A thread gets a request when all of it has come, and hands back what it could not send. The process's main thread,
which gunicorn has for idle connections anyway, waits for the clients; each has a deadline. Where there are too many
of them, or too much of theirs is kept, those that take longest are closed.

Source: gunicorn 27's gthread.py, whose threads wait for the bodies, for the first byte (5 s) and for slow readers, and
whose main thread lingers for 2 s on each connection that it closes.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from app.serving.inbox import Inbox, Stage
from app.serving.outbox import CONTINUE, Outbox

HEAD_SECONDS = 10.0
# For a body or an answer, and as much again as its length takes at this rate.
TRANSFER_SECONDS = 10.0
LEAST_RATE = 50_000.0
LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 1024
# Of what all slow clients of a process have sent, or have not taken yet.
KEPT_BYTES = 64 * 1024 * 1024
# How long they may be overlooked, or how much of theirs.
LOOK_SECONDS, LOOK_BYTES = 0.25, 8 * 1024 * 1024
# So many connections are never used up by clients that do nothing.
SPARE_CONNECTIONS = 10

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
HEAD_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

# What a thread says of a request that is not whole yet.
WAIT = object()


@dataclass(slots=True)
class _Watch:
    """A connection that something is waited for on. Units: since and deadline by the monotonic clock."""

    since: float
    deadline: float
    ready: Callable[[Any], None]
    # Of a request that is waited for.
    stage: Stage | None = None
    kept: int = 0


class BufferingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The worker of gunicorn.conf.py."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watched: dict[Any, _Watch] = {}
        self._look_at = 0.0
        self._received = 0
        self._in_hand = 0

    # In a thread

    def handle(self, conn: Any) -> object:
        """Answer a request if it is whole; its thread waits for nobody."""
        if self.cfg.is_ssl:
            return super().handle(conn)
        try:
            conn.init()
            if not isinstance(conn.parser.unreader, Inbox):
                conn.parser.unreader = Inbox()
                conn.began, conn.stage, conn.outbox = time.monotonic(), None, None
            inbox: Inbox = conn.parser.unreader
            # What was waited for has been received already.
            stage = conn.stage or inbox.receive(conn.sock)
        except OSError:
            return False
        conn.stage = None
        if inbox.is_over:
            return False
        if stage not in (Stage.WHOLE, Stage.CUT):
            return WAIT
        conn.is_cut = stage is Stage.CUT
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Answer, into an outbox."""
        if self.cfg.is_ssl:
            return bool(super().handle_request(req, conn))
        if conn.is_cut:
            # Where the next request would begin is not known.
            req.force_close()
        sock, conn.sock = conn.sock, Outbox(conn.sock)
        try:
            return bool(super().handle_request(req, conn))
        finally:
            conn.outbox, conn.sock = conn.sock, sock

    # In the main thread

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take new connections or leave them; while every thread has something to do, they are left to other processes.

        Those that come at once would else all go to the process that wakes first, and stay there.
        """
        super().set_accept_enabled(enabled and self._in_hand < self.cfg.threads)

    def accept(self, listener: Any) -> None:
        """Take a new connection, unless every thread has something to do."""
        if self._in_hand < self.cfg.threads:
            super().accept(listener)
        else:
            self.set_accept_enabled(False)

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection to a thread."""
        self._in_hand += 1
        super().enqueue_req(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Go on with a connection that a thread has left."""
        self._in_hand -= 1
        if self.cfg.is_ssl:
            super().finish_request(conn, fs)
            return
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
        inbox: Inbox = conn.parser.unreader
        inbox.begin()
        conn.began = time.monotonic()
        if inbox.has_more:
            conn.stage = inbox.look()
            self._route(conn, conn.stage)
            return
        conn.sock.setblocking(False)
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + LINGER_SECONDS)
        self.keepalived_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, lambda _: self._on_idle(conn))

    def _on_idle(self, conn: Any) -> None:
        conn.began = time.monotonic()
        self.on_client_socket_readable(conn, conn.sock)

    def _await_request(self, conn: Any) -> None:
        self._route(conn, conn.parser.unreader.look())

    def _route(self, conn: Any, stage: Stage) -> None:
        """Give the request to a thread, or wait for what is missing."""
        inbox: Inbox = conn.parser.unreader
        if inbox.is_over:
            self._drop(conn)
        elif stage in (Stage.WHOLE, Stage.CUT):
            conn.stage = stage
            self.enqueue_req(conn)
        elif stage is Stage.HEAD_TOO_LONG:
            self._refuse(conn, HEAD_TOO_LONG)
        else:
            self._watch_request(conn, stage)

    def _watch_request(self, conn: Any, stage: Stage) -> None:
        inbox: Inbox = conn.parser.unreader
        seconds = HEAD_SECONDS
        if stage is Stage.EMPTY:
            # As an idle one: browsers and routers connect ahead of their requests.
            seconds = float(self.cfg.keepalive)
        elif stage is Stage.BODY:
            seconds = TRANSFER_SECONDS + (inbox.missing + len(inbox)) / LEAST_RATE
            self._encourage(conn)
        watch = _Watch(conn.began, conn.began + seconds, lambda _: self._on_more(conn), stage, len(inbox))
        self._watch(conn, selectors.EVENT_READ, watch)

    def _encourage(self, conn: Any) -> None:
        """Say once that the body may come, to a client that asked before it sends a long one."""
        inbox: Inbox = conn.parser.unreader
        if inbox.expects_continue:
            inbox.expects_continue = False
            with suppress(BlockingIOError):
                conn.sock.send(CONTINUE, socket.MSG_DONTWAIT)

    def _on_more(self, conn: Any) -> None:
        inbox: Inbox = conn.parser.unreader
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
        """Close our side, and wait for the client's, or it may lose the end of the answer (RFC 9112, 9.6)."""
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

    # Who is watched

    def _watch(self, conn: Any, event: int, watch: _Watch) -> None:
        def ready(sock: Any) -> None:
            # The poller may have told of it before it was closed.
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
        """Close who is too slow; gunicorn calls this whenever something has happened, and each second."""
        while self.nr_conns > self.worker_connections - SPARE_CONNECTIONS and self._make_room():
            pass
        now = time.monotonic()
        if now < self._look_at and self._received < LOOK_BYTES:
            return
        self._look_at, self._received = now + LOOK_SECONDS, 0
        for conn, watch in list(self._watched.items()):
            # A process that stops waits for no request that has not come.
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
