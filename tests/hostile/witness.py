"""A module of kinds that brings none: named by HAULIER_KINDS, it writes down whom a process of ours speaks to.

It sees what Python's own sockets do, which is all that the kinds use; libpq speaks to the database beneath it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

BOOK = Path(os.environ["HOSTILE_WITNESS"])
SPEAKING = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0}


def note(event: str, args: tuple[object, ...]) -> None:
    """Write a line, `socket.connect ('10.0.0.1', 80)`, for each attempt, also for one that fails."""
    if event in SPEAKING:
        with BOOK.open("a") as book:
            book.write(f"{event} {args[SPEAKING[event]]!r}\n")


sys.addaudithook(note)
