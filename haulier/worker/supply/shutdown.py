"""How far the process has come in stopping."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Three steps, each set once, by the main thread.

    After `stopping` no job is claimed or started; after `closing`, which follows the last job, every thread ends; after
    `over` the main thread waits no longer for threads that have not ended.
    """

    stopping: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
