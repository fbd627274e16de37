"""A mail to send, and reading what arrived."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from tests.kinds.kinds_tools import Mailbox, run

HELLO = {"to": "a@b.c", "subject": "Hello", "body": "How are you?"}


def send(mailbox: Mailbox, **payload: Any) -> Any:
    return run("send_email", {**HELLO, **payload}, smtp_url=mailbox.url)


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message
