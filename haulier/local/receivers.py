"""The other side of the demo's mail and webhook: an SMTP server and an HTTP receiver on this machine, for real."""

from __future__ import annotations

import json
import socketserver
import threading
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from haulier.domain.errors import HaulierError
from haulier.local.guard import for_us_alone


class NotReceived(HaulierError):
    """What a job claims to have sent has not arrived."""


class SmtpSink(socketserver.ThreadingTCPServer):
    """Takes every mail and keeps it in a folder as .eml."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _SmtpSession)
        self.port: int = self.server_address[1]
        self.folder = folder
        self.mails: list[Path] = []

    def keep(self, content: bytes) -> None:
        """Keep the mail; it is in `mails` once it is on the disk."""
        path = self.folder / f"mail-{len(self.mails) + 1}.eml"
        with open(path, "wb", opener=for_us_alone) as file:
            file.write(content)
        self.mails.append(path)

    def find(self, message_id: str) -> tuple[Path, EmailMessage]:
        """Return the mail of that Message-ID, and where it is kept. Raises: NotReceived."""
        for path in self.mails:
            mail = message_from_bytes(path.read_bytes(), policy=policy.default)
            if mail["Message-ID"] == message_id:
                return path, mail
        raise NotReceived(f"the mail {message_id} has not reached the SMTP server")


class _SmtpSession(socketserver.StreamRequestHandler):
    """The part of RFC 5321 that a client needs to send plain mail."""

    server: SmtpSink

    def handle(self) -> None:
        self._answer("220 ready")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self._answer("354 end with a dot")
                self.server.keep(self._content())
            self._answer("221 bye" if verb == b"QUIT" else "250 ok")
            if verb == b"QUIT":
                return

    def _content(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))  # clients double a leading dot
        return b"".join(lines)

    def _answer(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@dataclass(frozen=True)
class Delivery:
    """A webhook that arrived with a valid signature."""

    event: str
    webhook_id: str
    body: object


class WebhookReceiver(ThreadingHTTPServer):
    """Takes webhooks that are signed with the secret, and answers 401 to others."""

    def __init__(self, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), _WebhookHandler)
        self.port: int = self.server_address[1]
        self.secret, self.webhook = secret, Webhook(secret)
        self.deliveries: list[Delivery] = []

    def find(self, webhook_id: str) -> Delivery:
        """Return the webhook of that id. Raises: NotReceived."""
        for delivery in self.deliveries:
            if delivery.webhook_id == webhook_id:
                return delivery
        raise NotReceived(f"the webhook {webhook_id} has not reached the receiver with a signature that holds")


class _WebhookHandler(BaseHTTPRequestHandler):
    server: WebhookReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.server.webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except WebhookVerificationError:
            self.send_response(401)
        else:
            headers = self.headers
            self.server.deliveries.append(
                Delivery(headers.get("webhook-event", ""), headers["webhook-id"], json.loads(body))
            )
            self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the terminal shows the table of jobs."""


class Receivers:
    """Both servers, each of which serves in its own thread inside the `with` block."""

    def __init__(self, smtp: SmtpSink, webhooks: WebhookReceiver) -> None:
        self.smtp, self.webhooks = smtp, webhooks
        self._threads = [
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.1}, name="receiver")
            for each in (smtp, webhooks)
        ]

    def __enter__(self) -> Receivers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip((self.smtp, self.webhooks), self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
