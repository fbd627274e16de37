"""How far the process has come in stopping."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Three steps, each set once, by the main thread.

    Shape: from `stopping` on no job is claimed or started; from `closing` on, after the last job, every thread ends;
           from `over` on nobody waits for the threads that have not ended.
    """

    stopping: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
