"""Mails that a caller wants to be others than they are said to be, drawn from a seed: it ..."""

from __future__ import annotations

import base64
import os
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_string
from email.header import decode_header, make_header
from email.message import Message
from email.policy import compat32, default
from email.utils import getaddresses
from pathlib import Path
from typing import Any

import idna
from marshmallow import ValidationError

from haulier.kinds import Fail
from haulier.kinds.included.send_email import SendEmail
from tests.kinds.kinds_tools import run

# `make fuzz` has more of them, by another seed.
COUNT, SEED = int(os.environ.get("FUZZ_MAILS", "600")), int(os.environ.get("FUZZ_SEED", "11"))
HELLO = {"to": "a@b.c", "subject": "Hello", "body": "How are you?"}
HEADERS = ["From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"]
HEADERS += ["Content-Type", "Content-Transfer-Encoding"]
# What servers take in a local part all the same: dots where they are obsolete, and letters beyond ASCII (RFC 6531).
TAKEN = re.compile(r"repeated '\.'|in local part|not dot-atom|local-part contains non-ASCII")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def mail_of(payload: dict[str, Any], folder: Path) -> bytes | None:
    """Run the job and return the mail that it has written; None if it failed for good, and wrote nothing."""
    try:
        run("send_email", payload, smtp_url=folder.as_uri())
    except Fail:
        assert not list(folder.iterdir())
        return None
    [file] = folder.iterdir()
    content = file.read_bytes()
    file.unlink()
    return content


def asked(payload: dict[str, Any], field: str) -> list[str]:
    """Return the addresses that a field of the payload names, as a mail has them."""
    value = payload.get(field) or []
    return [as_written(address) for address in ([value] if isinstance(value, str) else value)]


def as_written(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local.strip(chr(34))}@{domain if domain.isascii() else idna.encode(domain, uts46=True).decode()}"


def read(message: Message, name: str) -> str:
    """Return a field as programs read it that know nothing of addresses: decoded as a whole."""
    value = re.sub(r"\r?\n(?=[ \t])", "", str(message.get(name, "")))
    try:
        return str(make_header(decode_header(value)))
    except (UnicodeError, LookupError) as error:
        return f"unreadable: {error}"


def defects(message: Message) -> list[str]:
    """Return what the parser objects to, in the message and in each of its fields."""
    return [str(each) for each in (*message.defects, *(found for field in message.values() for found in field.defects))]


def judge(content: bytes, payload: dict[str, Any]) -> list[str]:
    """Return what is not as the payload says."""
    head, _, _ = content.partition(b"\r\n\r\n")
    lines = head.decode("utf-8").split("\r\n")
    names = [line.partition(":")[0] for line in lines if line[:1] not in (" ", "\t")]
    # As text: a header beyond ASCII is in UTF-8 (RFC 6532).
    new, old = (message_from_string(content.decode(), policy=policy) for policy in (default, compat32))
    faults = {
        "a field that is not ours, or twice": [name for name in names if name not in HEADERS or names.count(name) > 1],
        "fields differ between programs": [] if names == new.keys() == old.keys() else [names, new.keys(), old.keys()],
        "a control character": [line for line in lines if CONTROL.search(line.replace("\t", ""))],
        "a line too long": [line for line in lines if len(line.encode()) > 998],
        "defects": [each for each in defects(new) if not TAKEN.search(each)],
        "a control character, decoded": [
            name for name in names if CONTROL.search(str(new[name])) or CONTROL.search(read(old, name))
        ],
        "Subject": [
            said
            for said in (str(new["Subject"]), read(old, "Subject"))
            if said.strip(" ") != payload["subject"].strip(" ")
        ],
    }
    for name, field in (("To", "to"), ("Cc", "cc"), ("Reply-To", "reply_to")):
        said = [f"{each.username}@{each.domain}" for each in (new[name].addresses if new[name] else ())]
        faults[name] = [] if said == asked(payload, field) else said
        simply = [address.replace('"', "") for _, address in getaddresses(old.get_all(name, []))]
        faults[f"{name}, read simply"] = [] if len(simply) == len(said) else simply
    return [f"{what}: {found!r}" for what, found in faults.items() if found]


def test_refuses_an_address_that_holds_an_encoded_word_wherever_it_stands() -> None:
    taken = []
    for number, word in enumerate(encoded_words()):
        for field in FIELDS[:4] if number % 20 == 0 else FIELDS[:1]:
            for address in around(word):
                with suppress(ValidationError):
                    taken.append(SendEmail().load({**HELLO, field: address}))

    assert taken == []


def test_a_mail_of_any_payload_is_that_mail_or_none(tmp_path: Path) -> None:
    wrong, sent = {}, 0
    for payload in drawn(SEED, COUNT):
        content = mail_of(payload, tmp_path)
        sent += content is not None
        if content is not None and (faults := judge(content, payload)):
            wrong[repr(payload)] = faults

    assert not wrong, "\n".join(f"{payload}: {faults}" for payload, faults in list(wrong.items())[:20])
    # Else it would show nothing.
    assert COUNT / 10 < sent < COUNT


# What a mail program would decode out of a header field, or take for an end of it.
INNER = [
    *("attacker@evil.example,", "a@evil.example\r\nBcc: b@evil.example", "\r\nX-Injected: yes\r\n\r\nbody", "\x00"),
    *("\x1b[2J", "\x07", "\x85", "\u2028X-Injected: yes", "<b@evil.example>", '"', "@", ";", "plain", "Grüße"),
    *("=?utf-8?q?twice?=", ""),
]
CHARSETS = ["utf-8", "US-ASCII", "iso-8859-1", "utf-7", "utf-16", "unknown-8bit", "x-none", "utf-8*en", ""]
FIELDS = ["to", "cc", "bcc", "reply_to", "subject", "body", "html"]
PIECES = [
    *("a", "Z", "7", ".", "..", "@", "@b.c", " ", "  ", ",", ";", ":", "<", ">", "(", ")", "[", "]", "\\", '"', "'"),
    *("=", "?", "=?", "?=", "=?utf-8?q?", "=?utf-8?b?", "=00", "=0D=0A", "=1B", "_", "\r", "\n", "\r\n", "\r\n "),
    *("\t", "\x00", "\x1b", "\x7f", "\x85", "\xa0", "\u2028", "\u2029", "\u200b", "\ufeff", "é", "日本", "😀"),
    *("＝？", "＠", "％", "。", "ß", "İ", "Bcc: x@evil.example", "group:a@b.c;", "[127.0.0.1]", "xn--", "x" * 80),
    *("ä" * 40, "-- ", ".\r\n", "\r\n.\r\n", "%00", "&#0;"),
]


def encoded_word(text: str, charset: str, coding: str) -> str:
    """Return the text as an encoded word; in the charset, if there is one and it can say so."""
    try:
        data = text.encode(charset or "utf-8")
    except (LookupError, UnicodeEncodeError):
        data = text.encode()
    said = base64.b64encode(data).decode() if coding in "bB" else "".join(f"={byte:02X}" for byte in data)
    return f"=?{charset}?{coding}?{said}?="


def encoded_words() -> Iterator[str]:
    for text in INNER:
        for charset in CHARSETS:
            for coding in ("q", "Q", "b", "B", "x"):
                yield encoded_word(text, charset, coding)


def around(word: str) -> list[str]:
    """Return addresses that hold the word in each of their parts."""
    return [
        *(f"{word}@trusted.example", f"a{word}b@trusted.example", f'"{word}"@trusted.example', f"a@{word}"),
        *(f"a@{word}.example", f"{word.replace('?', '=3F')}?=@trusted.example"),
    ]


def drawn(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Yield `count` payloads, each a right one with some of its fields made worse."""
    draw = random.Random(seed)
    words = list(encoded_words())
    for _ in range(count):
        payload: dict[str, Any] = {"to": "ann@trusted.example", "subject": "Hello", "body": "How are you?"}
        for field in draw.sample(FIELDS, draw.randint(1, 3)):
            value = _text(draw, words, is_address=field in FIELDS[:4])
            payload[field] = [value, "bob@trusted.example"] if field in FIELDS[1:4] and draw.random() < 0.5 else value
        yield payload


def _text(draw: random.Random, words: list[str], *, is_address: bool) -> str:
    parts = draw.choices(PIECES, k=draw.randint(1, 6))
    if draw.random() < 0.4:
        parts.insert(draw.randrange(len(parts) + 1), draw.choice(words))
    text = "".join(parts)
    if not is_address or draw.random() < 0.1:
        return text
    # Mostly what can pass for one: else nothing but the pattern is tried.
    text = "".join(
        each for each in text if draw.random() < 0.02 or each not in ' @,;:<>()[]\\"\r\n\t\x00\x1b\x7f\x85\xa0'
    )
    local = f'"{text}"' if draw.random() < 0.3 else text
    # With dots astray in the domain as well nothing reads it as an address; it is written as it is, all the same.
    domain = ".".join(filter(None, text.split("."))) or "x"
    return f"{local}@{draw.choice(['trusted.example', 'bücher.example', '[127.0.0.1]', domain, 'x＝？y.example'])}"
