"""What a run of these tests has shown, kept for the table in docs/reliability.md."""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("results.json")


def record(case: str, text: str, *, part: str = "", file: Path = FILE) -> None:
    """Keep what was shown of this case, and how often of this part of it; several processes may do so at once."""
    with file.open("a+", encoding="utf-8") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        found = json.loads(kept.read() or "{}")
        parts = Counter(found.get(case, {}).get("parts", {}))
        parts[part] += bool(part)
        found[case] = {"now": text, "at": time.strftime("%Y-%m-%d %H:%M"), "parts": dict(sorted((+parts).items()))}
        kept.truncate(0)
        kept.write(json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n")


def load(file: Path = FILE) -> dict[str, dict[str, Any]]:
    """Return what was shown, by case."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
