"""From the fields that are to be different in a job to its changes: checked by its kind, with its secrets kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import ValidationError

from haulier.domain.job import Json
from haulier.kinds import Kind
from haulier.kinds.sdk.secret_fields import (
    NothingToKeep,
    Tree,
    masked,
    secret_fields,
    secret_texts,
    with_kept,
    without_in,
)
from haulier.queue.jobs.change import Changes
from haulier.queue.rows import StoredJob
from haulier.requests.fields import time_text
from haulier.requests.invalid import Invalid, messages_of

from .enqueuing import check_payload_size
from .service import service

# The record has a payload whole up to this many bytes, as JSON without secrets; of a longer one the fields that differ.
MOST_NOTED = 16 * 1024

_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def changes_of(asked: Mapping[str, Any], job: StoredJob) -> Changes:
    """Return the changes of these fields, with the secrets that were sent back masked.

    Raises: Invalid; TooLarge.
    """
    fields: dict[str, Json] = {name: value for name, value in asked.items() if value is not None}
    if "run_at" in fields:
        fields["run_at"] = time_text(fields["run_at"])
    if "payload" not in fields:
        return Changes(_write(fields))
    stored = job.payload
    kind: Kind | None = service().kinds.get(job.kind)
    if kind is None:
        raise Invalid(
            {"payload": ["Cannot be changed: this service does not know the kind, so it cannot check the payload."]}
        )
    tree = secret_fields(kind.schema)
    fields["payload"] = _checked(kind, tree, fields["payload"], stored)
    noted = _noted(stored, fields["payload"], tree)
    return Changes(_write(fields), job.payload_hash, _write(noted))


def _checked(kind: Kind, tree: Tree | None, payload: dict[str, Json], stored: dict[str, Json]) -> dict[str, Json]:
    """Return the payload as it is to be stored. Raises: Invalid; TooLarge."""
    if tree is not None:
        try:
            payload = with_kept(payload, stored, tree)
        except NothingToKeep as error:
            raise Invalid(
                _at(("payload", *error.path), "There is no stored secret to keep here: send the value.")
            ) from None
    try:
        kind.schema.load(payload)
    except ValidationError as error:
        raise Invalid({"payload": _without_secrets(tree, payload, messages_of(error))}) from None
    check_payload_size(_write(payload).encode())
    return payload


def _without_secrets(tree: Tree | None, payload: dict[str, Json], messages: Json) -> Json:
    """Return the messages without secrets, which validators may quote; those that were kept, too."""
    return messages if tree is None else without_in(messages, secret_texts(payload, tree), in_keys=False)


def _at(path: Sequence[str | int], message: str) -> dict[str, Json]:
    found: Json = [message]
    for step in reversed(path):
        found = {step: found}
    details: dict[str, Json] = found
    return details


def _noted(old: Mapping[str, Json], new: Mapping[str, Json], tree: Tree | None) -> dict[str, Json]:
    """Return what the record says of both payloads.

    Of a long one it has the length as `<name>_bytes`, and the fields that differ, unless these are too long as well.
    """
    old, new = (each if tree is None else masked(each, tree) for each in (old, new))
    noted: dict[str, Json] = {}
    for name, payload, other in (("old", old, new), ("new", new, old)):
        size = len(_write(payload).encode())
        if size > MOST_NOTED:
            noted[f"{name}_bytes"] = size
            payload = {each: value for each, value in payload.items() if each not in other or other[each] != value}
        if len(_write(payload).encode()) <= MOST_NOTED:
            noted[name] = payload
    return noted
