"""send_email: sends one mail through SMTP_URL, to all of its recipients or to none.

This file composes the mail; outbound/smtp.py talks to the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import idna
from marshmallow import ValidationError, fields, validate

from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.domain.job import Json
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.included.outbound.files import local_path, write_whole
from haulier.kinds.included.outbound.smtp import SmtpServer, hand_over
from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.endings import Fail, Retry
from haulier.kinds.sdk.payload import ONE_LINE, Field, Pattern, PayloadSchema, free_text
from haulier.kinds.sdk.registry import kind

SECONDS = 60.0
MAX_RECIPIENTS = 100
# local@domain, without control characters, spaces, and the marks by which mail programs separate addresses.
_BLANK = r"\x00-\x20\x7f-\xa0\u1680\u2000-\u206f\u3000\ufeff"
# The dot, and the characters that become one when the name is written in ASCII. A label between two dots is not empty:
# an address with an empty label is invalid.
_DOT = r".\u3002\uff0e\uff61"
_LABEL = r"[^" + _BLANK + _DOT + r"@<>()\[\],;:\"\\]+"
ADDRESS = (
    r"^(\"[^\"\\\x00-\x1f\x7f-\x9f\u2028\u2029]+\"|[^" + _BLANK + r"@<>()\[\],;:\"\\]+)"
    r"@(" + _LABEL + r"([" + _DOT + r"]" + _LABEL + r")*|\[[0-9A-Za-z.:-]+\])$"
)
MAX_ADDRESS = 320
# The start of an encoded word, which a mail program would decode, perhaps into further addresses or a control character
# (RFC 2047).
ENCODED_WORD = "=?"
NO_ENCODED_WORD = {"pattern": r"=\?"}
_is_formed_as_address = Pattern(ADDRESS, "Must be an address such as ann@example.com.")
is_one_line = Pattern(ONE_LINE, "Must be one line without control characters.")


def _has_no_encoded_word(value: str) -> None:
    if ENCODED_WORD in value:
        raise ValidationError("Must be an address without an encoded word (=?).")


def is_address(value: str) -> str:
    """Return the value. Raises: ValidationError unless it is one address that means what it shows."""
    _is_formed_as_address(value)
    _has_no_encoded_word(value)
    return value


class Addresses(Field[list[str]]):
    """One address, or a list of them; loaded as a list."""

    def __init__(self, description: str) -> None:
        one = {"type": "string", "pattern": ADDRESS, "not": NO_ENCODED_WORD, "maxLength": MAX_ADDRESS}
        many = {"type": "array", "items": one, "maxItems": MAX_RECIPIENTS}
        about = {"description": description, "oneOf": [one, many, {"type": "null"}], "examples": ["ann@example.com"]}
        super().__init__(metadata=about)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[str]:
        addresses = [value] if isinstance(value, str) else value
        if not isinstance(addresses, list):
            raise ValidationError("Must be an address or a list of addresses.")
        if len(addresses) > MAX_RECIPIENTS:
            raise ValidationError(f"Must hold at most {MAX_RECIPIENTS} addresses.")
        for address in addresses:
            if not isinstance(address, str) or len(address) > MAX_ADDRESS:
                raise ValidationError("Must be an address or a list of addresses.")
            is_address(address)
        return addresses


class SendEmail(PayloadSchema):
    """The payload of send_email."""

    to = fields.String(
        required=True,
        validate=[_is_formed_as_address, _has_no_encoded_word, validate.Length(max=MAX_ADDRESS)],
        metadata={
            "description": "The recipient, as local@domain.",
            "examples": ["ann@example.com"],
            "not": NO_ENCODED_WORD,
        },
    )
    subject = fields.String(
        required=True,
        validate=[is_one_line, validate.Length(max=900)],
        metadata={"description": "The subject, on one line.", "examples": ["Your invoice"]},
    )
    body = free_text("The text.", required=True, example="Dear Ann, …")
    html = free_text("The body as HTML.", example="<p>Dear Ann, …</p>")
    cc = Addresses("Further recipients, visible to all.")
    bcc = Addresses("Further recipients, hidden from the others.")
    reply_to = Addresses("Address for replies.")


def check_settings(config: Config) -> None:
    """Return if SMTP_URL and MAIL_FROM can be used. Raises: ConfigError."""
    url = config.smtp_url or ""
    if url.startswith("file:"):
        _folder(url)
    else:
        SmtpServer.parse(url)
    _sender(config)


@kind("send_email", schema=SendEmail, timeout=120, needs=("smtp_url", "mail_from"), check=check_settings)
def send_email(context: JobContext, payload: dict[str, Json]) -> Json:
    """Send the mail; a 5xx answer is final; after a 4xx answer or an error of the network the job is retried."""
    recipients = list(dict.fromkeys([payload["to"], *(payload.get("cc") or ()), *(payload.get("bcc") or ())]))
    message = compose(context, payload)
    result = {"message_id": str(message["Message-ID"]), "recipients": len(recipients)}
    url = context.settings.smtp_url or ""

    if url.startswith("file:"):
        path = _folder(url).absolute() / f"{context.job.id}.eml"
        context.raise_if_cancelled()
        try:
            write_whole(path, message.as_bytes())
        except OSError as error:
            raise Retry(f"SMTP_URL: cannot write the mail: {error.strerror}") from error
        return {**result, "location": path.as_uri()}

    addresses = [_address(recipient).addr_spec for recipient in recipients]
    with Deadline(context, SECONDS, "the SMTP conversation") as deadline:
        hand_over(SmtpServer.parse(url), deadline, _sender(context.settings).addr_spec, addresses, message.as_bytes())
    return result


def compose(context: JobContext, payload: dict[str, Json]) -> EmailMessage:
    """Return the mail, the same in every attempt but for its date; bcc is not in it. Raises: Fail."""
    sender = _sender(context.settings)
    named = {"To": [payload["to"]], "Cc": payload.get("cc"), "Reply-To": payload.get("reply_to")}
    locals_ = [address.rpartition("@")[0] for addresses in named.values() for address in addresses or ()]
    beyond_ascii = not all(local.isascii() for local in (sender.username, *locals_))
    # 7bit: quoted-printable or base64 passes through servers that do not offer 8BITMIME.
    message = EmailMessage(policy=SMTPUTF8 if beyond_ascii else SMTP.clone(cte_type="7bit"))
    message["From"] = sender
    for header, addresses in named.items():
        if addresses:
            message[header] = tuple(_address(address) for address in addresses)
    _add_subject(message, payload["subject"])
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = f"<{context.job.id}@{sender.domain}>"
    # Keeps the recipients' out-of-office programs from answering (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(payload["body"])
    if payload.get("html") is not None:
        message.add_alternative(payload["html"], subtype="html")
    return message


def _add_subject(message: EmailMessage, subject: str) -> None:
    if ENCODED_WORD in subject or not subject.isascii():
        # Encode the whole subject. An encoded word that the caller wrote would otherwise be decoded, by Python here and
        # by mail programs. And of a subject that is not ASCII Python would encode only some words, adding spaces.
        message.set_raw("Subject", Header(subject, "utf-8", header_name="Subject").encode())
    else:
        message["Subject"] = subject


def _address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            raise Fail(f"{text} is not an address: its domain cannot be written in ASCII") from None
        # Some releases of idna turn a character such as "⒈" into a digit and a dot, which may leave a label empty.
        if "" in domain.split("."):
            raise Fail(f"{text} is not an address: a part of its domain is empty")
    return Address(username=local.strip('"') if local.startswith('"') else local, domain=domain)


def _sender(config: Config) -> Address:
    given = config.mail_from or ""
    name, text = parseaddr(given)
    try:
        is_one_line(given)
        is_address(text)
        sender = _address(text)
        return Address(name, sender.username, sender.domain)
    except (ValidationError, ValueError, Fail):
        raise ConfigError("MAIL_FROM must be an address such as Haulier <jobs@example.com>") from None


def _folder(url: str) -> Path:
    try:
        return local_path(url)
    except ValueError:
        raise ConfigError("SMTP_URL: a file: URL must name a folder of this machine, as file:///var/mail") from None
