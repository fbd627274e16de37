"""Payloads of send_email that want to be more than one mail, or another: drawn from a seed."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from typing import Any

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
