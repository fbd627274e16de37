"""click's runner for tests. Before click 8.2 it mixes stderr into stdout, and loses what stderr still buffers."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

from click.testing import CliRunner

SEPARATE: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}


class Runner(CliRunner):
    """A runner that keeps stdout and stderr apart, each whole."""

    def __init__(self, environ: dict[str, str | None]) -> None:
        super().__init__(env=environ, **SEPARATE)

    @contextmanager
    def isolation(self, *args: Any, **options: Any) -> Iterator[Any]:
        """Let a command run with streams of its own."""
        with super().isolation(*args, **options) as streams:
            if isinstance(sys.stderr, io.TextIOWrapper):
                sys.stderr.reconfigure(write_through=True)
            yield streams
