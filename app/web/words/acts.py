"""Acts of operators in words, for the audit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from haulier.domain.act import Act
from haulier.domain.text import NOTHING, count, cut, duration

MOST_VALUE, MOST_LINES = 120, 12
# What the words of an act do not say stands in the column beside them: which job, queue, …
WORDS: Mapping[str, str] = {
    Act.CANCEL: "cancelled a job",
    Act.RETRY: "retried a job",
    Act.CHANGE: "changed a job",
    Act.COPY: "copied a job",
    Act.DELETE: "deleted a job",
    Act.CREATE_KEY: "created an API key",
    Act.ROTATE_KEY: "rotated an API key",
    Act.REVOKE_KEY: "revoked an API key",
    Act.ASSIGN_KEY: "assigned an API key to a cell",
    Act.MUTE: "muted an error",
    Act.UNMUTE: "unmuted an error",
    Act.QUIET: "quieted a worker",
    Act.UNQUIET: "woke a worker",
    Act.PAUSE: "paused a queue",
    Act.RESUME: "resumed a queue",
    Act.OPERATE: "started an operation",
    Act.CANCEL_OPERATION: "cancelled an operation",
    Act.RESUME_OPERATION: "resumed an operation",
    Act.PUT_SCHEDULE: "created or changed a schedule",
    Act.DELETE_SCHEDULE: "deleted a schedule",
    Act.PAUSE_SCHEDULE: "paused a schedule",
    Act.RESUME_SCHEDULE: "resumed a schedule",
    Act.RUN_SCHEDULE: "ran a schedule now",
    Act.ACKNOWLEDGE: "acknowledged a notice",
    Act.SHOW_AGAIN: "showed a notice again",
    Act.SIGN_IN: "signed in",
    Act.SIGN_OUT: "signed out",
}


def act_words(act: str, details: Any = None) -> str:
    """Return what somebody did, as far as the details of the entry say it."""
    given = _object(details)
    if act == Act.OPERATE and isinstance(given.get("action"), str):
        return f"started a bulk {given['action']}"
    if act == Act.PUT_SCHEDULE and given:
        return "created a schedule" if _is_new(given) else "changed a schedule"
    return WORDS.get(act, act.replace("_", " "))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_new(schedule: Mapping[str, Any]) -> bool:
    kind = _object(_object(schedule.get("changes")).get("kind"))
    return "new" in kind and kind.get("old") is None


def detail_lines(act: str, details: Any, filters: str = "") -> list[str]:
    """Return details as lines: the old and new value of each changed field, then everything else by name.

    Args:
        filters: Which jobs an operation acts on, in words.
    """
    if not isinstance(details, dict):
        return [] if details is None else [_short(details)]
    if act == Act.OPERATE and isinstance(details.get("matched"), int):
        return _lines_of_operation(details, filters)
    change = _value if act == Act.PUT_SCHEDULE and _is_new(details) else _change
    lines = [change(name, each) for name, each in _object(details.get("changes")).items()]
    lines += [_named(name, each) for name, each in details.items() if name != "changes" or not lines]
    return first_lines(lines)


def first_lines(lines: Sequence[str]) -> list[str]:
    """Return the first of the lines, and how many more there are."""
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])]


def read_details(details: bytes | None) -> Any:
    """Return the details of an entry of the audit; as text if they are nested too deep to be read."""
    try:
        return json.loads(details or b"null")
    except RecursionError:
        # Somebody has inserted the job by SQL: no request may be nested so deep.
        return (details or b"").decode()


def _lines_of_operation(details: Mapping[str, Any], filters: str) -> list[str]:
    about = "about " if details.get("matched_is") == "about" else ""
    jobs = count(details["matched"], "job")
    lines = [filters, f"{jobs} or more" if details.get("matched_is") == "more_than" else f"{about}{jobs}"]
    lines += [f"new {_named(name, each)}" for name, each in _object(details.get("changes")).items()]
    seconds = details.get("spread_seconds")
    return [*lines, f"spread over {duration(seconds)}"] if isinstance(seconds, int) and seconds else lines


def _change(name: str, change: Any) -> str:
    if not isinstance(change, dict) or not change:
        return f"{_spaced(name)} changed"
    if "old" in change or "new" in change:
        return f"{_spaced(name)}: {_short(change.get('old'))} → {_short(change.get('new'))}"
    return _named(name, change)


def _value(name: str, change: Any) -> str:
    new = _object(change).get("new")
    return _change(name, change) if new is None else _named(name, new)


def _named(name: str, value: Any) -> str:
    if name in ("until", "muted_until"):
        return "until resumed" if value is None else f"until {_short(value)}"
    return f"{_spaced(name)}: {_short(value)}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _short(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text, MOST_VALUE)
