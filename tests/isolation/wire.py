"""A proxy before the test's Postgres that lets one named statement fail, whatever message it comes in.

The message is passed on with a failing statement right before the named one. So the server itself gives the error, what
stood before it in the message has been done, and the state of the transaction is the real one.
"""

from __future__ import annotations

import select
import socket
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lab.proxy import Proxy, running
from tests.isolation.statements import found_in

_QUERY = b"Q"


@dataclass(frozen=True)
class Refusal:
    """An error of the database. With a constraint's name, as a violated constraint gives it."""

    sqlstate: str
    constraint: str = ""

    @property
    def sql(self) -> str:
        """Return a statement that fails with it."""
        constraint = f", CONSTRAINT = '{self.constraint}'" if self.constraint else ""
        return f"DO $x$ BEGIN RAISE 'refused by the test' USING ERRCODE = '{self.sqlstate}'{constraint}; END $x$;"

    def __str__(self) -> str:
        return f"{self.sqlstate} {self.constraint}".strip()


# Of each class: data, integrity, privilege, resource, limit, internal, raised, private, and what passes. Not more than
# the worker's log names in a minute.
REFUSALS = (
    *(Refusal(sqlstate) for sqlstate in ("22P02", "22003", "22021")),
    *(Refusal("23505", "made_by_the_test"), Refusal("23514", "made_by_the_test"), Refusal("23514")),
    Refusal("23503", "made_by_the_test"),
    *(Refusal(sqlstate) for sqlstate in ("42501", "53200", "53100", "54000", "XX000", "P0001", "MY001")),
    *(Refusal(sqlstate) for sqlstate in ("40001", "40P01", "55P03", "57014", "08001", "57P03")),
)


class RefusingProxy(Proxy):
    """Passes everything on, and notes which statements went by."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        # In the clear and without negotiation, so that the first message of a connection is its startup.
        self.url += "&sslmode=disable&gssencmode=disable"
        self.seen: Counter[str] = Counter()
        self.refused = 0
        self._refusing: tuple[str, Refusal] | None = None
        # The next message that has all of these statements loses its reply.
        self.lose_reply_to: set[str] | None = None

    def refuse(self, statement: str, refusal: Refusal) -> None:
        """Let this statement fail from now on, but for who still asks whether the schema fits."""
        self.refused, self._refusing = 0, (statement, refusal)

    def heal(self) -> None:
        self._refusing = None

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        unread, has_begun, is_lost = b"", False, False
        while True:
            readable, _, _ = select.select((client, server), [], [], 1.0)
            if server in readable:
                if not (data := server.recv(65536)):
                    return
                if is_lost:
                    # The server has answered, so it has committed; nobody hears of it.
                    return
                client.sendall(data)
            if client in readable:
                if not (data := client.recv(65536)):
                    return
                unread += data
                while (length := _length(unread, has_begun)) and len(unread) >= length:
                    message, unread = unread[:length], unread[length:]
                    if has_begun and message[:1] == _QUERY:
                        message, is_lost = self._edited(message[5:-1])
                    server.sendall(message)
                    has_begun = True

    def _edited(self, query: bytes) -> tuple[bytes, bool]:
        """Return the query's message as it is passed on, and whether its reply gets lost."""
        # Any byte is a character of Latin-1, whatever it is in the database's encoding.
        text = query.decode("latin-1")
        found, is_starting = found_in(text), not self.seen["schema_version"]
        self.seen.update(name for name, _ in found)
        is_lost = self.lose_reply_to is not None and self.lose_reply_to <= {name for name, _ in found}
        if is_lost:
            self.lose_reply_to = None
        if self._refusing is not None and not is_starting:
            statement, refusal = self._refusing
            place = next((place for name, place in found if name == statement), None)
            if place is not None:
                self.refused += 1
                # A COMMIT that fails has ended its transaction.
                failing = ("ROLLBACK; " if statement == "commit" else "") + refusal.sql
                text = text[:place] + failing + text[place:]
        query = text.encode("latin-1")
        return _QUERY + (len(query) + 5).to_bytes(4) + query + b"\0", is_lost


def _length(unread: bytes, has_begun: bool) -> int:
    """Return the length of the message at the front, 0 if that is not known yet; the first one has no type."""
    start = 1 if has_begun else 0
    return start + int.from_bytes(unread[start : start + 4]) if len(unread) >= start + 4 else 0


def refusing_proxy_to(url: str) -> AbstractContextManager[RefusingProxy]:
    return running(RefusingProxy(url))
