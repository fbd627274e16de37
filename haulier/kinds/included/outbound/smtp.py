"""The SMTP conversation of send_email: to all recipients or to none, within a deadline, no password in the clear."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from haulier.domain.errors import ConfigError
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.included.outbound.http_client import tls_context
from haulier.kinds.sdk.endings import Fail, Retry

STEP_SECONDS = 30.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
Security = Literal["tls", "starttls", "none"]


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The server that SMTP_URL names, and how to log in.

    `security` is "tls" from the first byte, "starttls" required, or "none".
    """

    host: str
    port: int
    security: Security
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> SmtpServer:
        """Return the server. Raises: ConfigError, which does not show the URL, since it may hold a password."""
        wrong = ConfigError(
            "SMTP_URL must be smtp://, smtps:// or smtp+starttls:// with user:password@host:port, or file:/folder"
        )
        try:
            parts = urlsplit(url)
            port, options = parts.port, dict(parse_qsl(parts.query, keep_blank_values=True))
        except ValueError:
            raise wrong from None
        starttls = options.pop("starttls", None)
        well_formed = parts.hostname and parts.path in ("", "/") and not options and port != 0 and url.isascii()
        if parts.scheme not in ("smtp", "smtps", "smtp+starttls") or not well_formed:
            raise wrong
        host, user = parts.hostname or "", unquote(parts.username) if parts.username else None
        security, usual_port = _security(parts.scheme, starttls, local=host in LOOPBACK, login=user is not None)
        return cls(host, port or usual_port, security, user, unquote(parts.password or ""))


def _security(scheme: str, starttls: str | None, *, local: bool, login: bool) -> tuple[Security, int]:
    """Return how the conversation is protected, and the usual port.

    A password is sent in the clear only within this machine, or if the operator allows it (`?starttls=never`).
    """
    if scheme == "smtps":
        return "tls", 465
    if scheme == "smtp+starttls" or starttls not in (None, "never"):
        return "starttls", 587
    return ("starttls" if login and not local and starttls is None else "none"), 25


def hand_over(server: SmtpServer, deadline: Deadline, sender: str, recipients: Sequence[str], content: bytes) -> None:
    """Return when the server has taken the mail for every recipient.

    A refused recipient stops the conversation before the mail is sent: nobody has it yet, so a later attempt gives
    nobody a second copy. Once the mail is being sent only the server's answer counts, and a stop is ignored.

    `addresses` are bare, their domains ASCII.
    Raises: Fail on answers of 5xx, Retry on 4xx and on errors of the network, JobCancelled.
    """
    with _smtp_errors(), _Session(server, deadline) as session:
        _introduce(session, server)
        options = []
        if not all(address.isascii() for address in (sender, *recipients)):
            if not session.has_extn("smtputf8"):
                raise Fail("an address is not ASCII, and the SMTP server does not offer SMTPUTF8")
            options = ["SMTPUTF8", "BODY=8BITMIME"]
        _accept(session.mail(sender, options), "the sender")
        _accept_all([(address, session.rcpt(address)) for address in recipients])
        deadline.hold()
        _accept(session.data(content), "the mail")
        deadline.shorten(1.0)


def _introduce(session: smtplib.SMTP, server: SmtpServer) -> None:
    session.ehlo_or_helo_if_needed()
    if server.security == "starttls":
        session.starttls(context=tls_context("smtp"))
        session.ehlo()
    if server.user is not None:
        session.login(server.user, server.password or "")


def _accept_all(answers: Sequence[tuple[str, tuple[int, bytes]]]) -> None:
    refused = [(address, answer) for address, answer in answers if answer[0] not in (250, 251)]
    if refused:
        # A permanently refused recipient decides, since no further attempt would succeed.
        address, (code, said) = max(refused, key=lambda each: each[1][0] >= 500)
        share = f"{len(refused)} of {len(answers)} recipients; sent to none"
        raise _failure(code, said, f"refused {address} ({share})")


class _Session(smtplib.SMTP):
    """An SMTP connection within a deadline, ended by QUIT if possible."""

    def __init__(self, server: SmtpServer, deadline: Deadline) -> None:
        self._server = server
        self._deadline = deadline
        # By default smtplib asks the name server for this machine's full name, which can take half a minute.
        name = socket.gethostname()
        super().__init__(server.host, server.port, local_hostname=name if "." in name else "[127.0.0.1]")

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = socket.create_connection((host, port), min(STEP_SECONDS, self._deadline.patience()))
        try:
            self._deadline.adopt(sock)
            if self._server.security == "tls":
                return tls_context("smtp").wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
        return sock

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, smtplib.SMTPException):
            self.quit()
        self.close()


@contextmanager
def _smtp_errors() -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise _failure(error.smtp_code, error.smtp_error, "refused the user or password of SMTP_URL") from error
    except smtplib.SMTPResponseException as error:
        raise _failure(error.smtp_code, error.smtp_error, "refused the connection") from error
    except smtplib.SMTPNotSupportedError as error:
        raise Fail(f"the SMTP server does not support what SMTP_URL asks for: {error}") from error
    except (OSError, smtplib.SMTPException) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Retry(f"the SMTP server cannot be reached: {text[:200]}") from error


def _accept(answer: tuple[int, bytes], what: str) -> None:
    code, said = answer
    if not 200 <= code < 300:
        raise _failure(code, said, f"refused {what}")


def _failure(code: int, said: bytes | str, what: str) -> Fail | Retry:
    """Return the failure that an SMTP answer means: 5xx is final."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    message = f"the SMTP server {what}: {code} {' '.join(text.split())[:300]}"
    return Fail(message) if code >= 500 else Retry(message)
