"""Read schedules.toml and check it as a whole, by the rules of the API."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from marshmallow import ValidationError

from haulier.domain.errors import HaulierError
from haulier.domain.job import LEAST_INTEGER, MAX_DEPTH, MAX_PAYLOAD_BYTES, MOST_EXACT, MOST_INTEGER, Json
from haulier.domain.schedules.schedule import Rule
from haulier.kinds import Kind
from haulier.kinds.sdk.payload import faults
from haulier.requests.invalid import messages_of
from haulier.requests.job_request import CreateJobRequest
from haulier.requests.schedule_request import check_name, read_schedule
from haulier.toml_file import read_toml

NUL = "Must not contain a NUL character."
# Fields that the API accepts, and why the file does not.
ELSEWHERE = {
    name: "Not allowed in the file, which each release applies again: use `haulier schedules pause` instead."
    for name in ("paused", "paused_until")
}


class FaultyFile(HaulierError):
    """The file cannot be applied. `faults` has a line for each reason, with its schedule and its field."""

    def __init__(self, path: Path, faults: Sequence[str]) -> None:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} errors"
        super().__init__(f"{path} has {count}: nothing was changed")
        self.faults = [f"{path}: {fault}" for fault in faults]


def read_schedules(path: Path, kinds: Mapping[str, Kind] | None) -> dict[str, Rule]:
    """Return the rule of each schedule in the file, by name. Raises: ConfigError; FaultyFile.

    Without kinds, neither the kind of a job nor its payload is checked.
    """
    tables, wrong, jobs = _schedules(path), list[str](), CreateJobRequest(kinds)
    rules: dict[str, Rule] = {}
    for name, table in tables.items():
        try:
            rules[name] = _rule(name, table, jobs)
        except ValidationError as error:
            reasons = faults(messages_of(error))
            wrong += [f"{name}: {where}: {text}" if where else f"{name}: {text}" for where, text in reasons]
    if wrong:
        raise FaultyFile(path, wrong)
    return rules


def _schedules(path: Path) -> dict[str, Json]:
    document = read_toml(path)
    if unknown := sorted(document.keys() - {"schedules"}):
        raise FaultyFile(path, [f"{name}: Unknown. A schedule is a table [schedules.NAME]." for name in unknown])
    # If a file is empty, somebody has more often lost its content than wanted to remove all schedules.
    if not isinstance(document.get("schedules"), dict):
        raise FaultyFile(path, ["The table [schedules] is missing. To remove all schedules, leave it empty."])
    schedules: dict[str, Json] = document["schedules"]
    return schedules


# One schedule ----------------------------------------------------------------------------------------------------


def _rule(name: str, table: Json, jobs: CreateJobRequest) -> Rule:
    """Return the rule of a schedule. Raises: ValidationError, which names every fault."""
    check_name(name)
    if not isinstance(table, dict):
        raise ValidationError("Must be a table.")
    given = _as_json(table)
    messages: dict[str, Json] = {field: [why] for field, why in ELSEWHERE.items() if field in given}
    try:
        rule = read_schedule({field: value for field, value in given.items() if field not in messages}, jobs).rule
    except ValidationError as error:
        messages |= messages_of(error)
    if why := _too_large(given.get("job")):
        of_job = messages.get("job")
        messages["job"] = {**(of_job if isinstance(of_job, dict) else {}), "payload": [why]}
    if messages:
        raise ValidationError(messages)
    return rule


def _too_large(job: Json) -> str | None:
    payload = job.get("payload") if isinstance(job, dict) else None
    size = len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode())
    return f"Has {size} bytes as JSON; at most {MAX_PAYLOAD_BYTES} are allowed." if size > MAX_PAYLOAD_BYTES else None


# TOML as JSON ----------------------------------------------------------------------------------------------------


def _as_json(table: dict[str, Json]) -> dict[str, Json]:
    """Return the table as if it had come as JSON. Raises: ValidationError for values that JSON does not have."""
    wrong: dict[str, list[str]] = {}

    def refuse(path: str, why: str) -> None:
        wrong[path] = [why]

    converted: dict[str, Json] = _value(table, "", refuse, MAX_DEPTH)
    if wrong:
        raise ValidationError(wrong)
    return converted


def _value(value: Json, path: str, refuse: Callable[[str, str], None], levels: int) -> Json:
    if isinstance(value, dict | list):
        if not levels:
            refuse(path, f"Is nested more than {MAX_DEPTH} levels deep.")
            return None
        if isinstance(value, list):
            return [_value(each, f"{path}[{place}]", refuse, levels - 1) for place, each in enumerate(value)]
        below = f"{path}." if path else ""
        if any("\0" in name for name in value):
            refuse(path, NUL)
        return {name: _value(each, f"{below}{name}", refuse, levels - 1) for name, each in value.items()}
    if why := _why_no_json(value):
        refuse(path, why)
    # As in JSON, which has one kind of number: 3.0 is the integer 3.
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < MOST_EXACT else value


def _why_no_json(value: Json) -> str | None:
    if isinstance(value, str | bool):
        return NUL if isinstance(value, str) and "\0" in value else None
    if isinstance(value, int):
        return None if LEAST_INTEGER <= value <= MOST_INTEGER else "Must fit into 64 bits."
    if isinstance(value, float):
        return None if math.isfinite(value) else "Must be a number that JSON supports."
    return "Must not be a date or time, which JSON does not support: write it in quotes."
