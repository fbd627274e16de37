"""What things are called that fill a database: friendly words, and what others write in order to break a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from haulier.domain.job import Json

KINDS = ("send_email", "webhook_delivery", "resize_image", "summarize_text")
LONG = "x" * 64
# Right to left, and what turns round all that comes after it.
BACKWARDS = "\u05e9\u05dc\u05d5\u05dd\u202e(1)gpj."
NAMES_AT_WORST = (LONG, "q" + "-_." * 21, "constructor", "a")
# What is in none of them, since the database takes it in no text: NUL.
TEXTS = (
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 1</script>",
    '"><img src=x onerror="window.ran = 1">',
    "' autofocus onfocus='window.ran = 1",
    "</pre></main></body><h1>gone</h1>",
    "<!-- ",
    "]]><svg/onload=window.ran=1>",
    "javascript:window.ran=1",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &#60;script&#62;",
    "<a href=//evil.example>click</a>",
    "\u202etxt.exe\u2066",
    "\x1b[2J\x07\r\n\t",
    "\ufeff\u200b",
    "\u05e9\u05dc\u05d5\u05dd (1) \u202eexe.gpj",
    "\u0645\u0631\u062d\u0628\u0627 <script>window.ran = 1</script> \u200f3 = 2 + 1",
    # As long as an error may become.
    "W" * 10_000,
    "m\u0300" * 500,
    "🧨" * 60,
    "﷽" * 40,
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<style>*{display:none}</style>",
    "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
)


@dataclass(frozen=True)
class Words:
    """What things are called. Each is taken in turn; name is who acts, keys are names of API keys."""

    kinds: Sequence[str] = KINDS
    queues: Sequence[str] = ("default", "mail", "hooks", "images")
    texts: Sequence[str] = (
        "SMTPRecipientsRefused: 550 no such user here",
        "ConnectTimeout: hooks.example.net:443 did not answer within 10.0 s",
        "ValueError: the picture has no pixels\n  File resize.py, line 12, in resize",
        "ModelOverloaded: try again in 30 s",
    )
    tags: Sequence[str] = ("night", "customer:4711")
    host: str = "dock"
    name: str = "ops-anna"
    keys: Sequence[str] = ("billing", "ops-bert", "reports")
    note: str = "mails sent"
    payload: Mapping[str, Json] = field(
        default_factory=lambda: {"to": "ann@example.com", "subject": "Your picture", "body": "It is ready.", "order": 1}
    )


FRIENDLY = Words()
HOSTILE = Words(
    kinds=(*NAMES_AT_WORST, "send_email"),
    queues=(*NAMES_AT_WORST, "default"),
    texts=TEXTS,
    tags=[text[:64] for text in TEXTS],
    # As long as a host may be called.
    host=(TEXTS[2] + BACKWARDS + LONG * 4)[:255],
    name=(TEXTS[2] + BACKWARDS + LONG)[:100],
    keys=[text[:100] for text in TEXTS if not set(text) & set("\x1b\x07\r\n\t")],
    note=(TEXTS[0] + BACKWARDS + LONG * 3)[:200],
    payload={"note": list(TEXTS), **dict.fromkeys(TEXTS, "value"), "password": TEXTS[0]},
)
