"""Reads the filter that lists, counts and operations share: named conditions, and `payload.<path>=<value>`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flask import request

from haulier.domain.job import Json
from haulier.kinds import Kind
from haulier.kinds.sdk.secret_fields import is_secret_at, secret_fields
from haulier.queue.search.job_filter import CONDITIONS, JobFilter
from haulier.requests.invalid import Invalid
from haulier.requests.job_conditions import PREFIX, payload_conditions

from .auth import Caller, caller
from .service import service


def job_filter(asked: Mapping[str, Any], **paging: Any) -> JobFilter:
    """Return the filter of the current request, within the queues that its caller may use. Raises: Invalid."""
    query = request.args
    if "payload" in asked:
        query = query.copy()
        for each in asked["payload"]:
            path, _, text = each.partition("=")
            query.add(f"{PREFIX}{path}", text)
    return filter_within(asked, query.lists(), **paging)


def filter_within(asked: Mapping[str, Any], given: Iterable[tuple[str, list[str]]], **paging: Any) -> JobFilter:
    """Return the filter, within the queues that the caller may use. Raises: Invalid.

    Of given those fields are read whose names begin with PREFIX.
    """
    by = caller()
    queues = asked.get("queue")
    if by.queues is not None:
        queues = [name for name in by.queues if queues is None or name in queues]
    payload = payload_conditions(given)
    _check_no_secret(payload, asked.get("kind"), by)
    return _filter({**asked, "queue": queues}, payload, **paging)


def filter_in_body(asked: Mapping[str, Any], payload: Mapping[str, Json]) -> JobFilter:
    """Return the filter of a request's body, in any queue. Raises: Invalid.

    `payload` has the fields whose names begin with PREFIX.
    """
    places = payload_conditions((name, [text]) for name, text in payload.items())
    _check_no_secret(places, asked.get("kind"), caller())
    return _filter(asked, places)


def secret_places(payload: Iterable[str], kinds: Iterable[str] | None) -> list[str]:
    """Return which of these places of the payload are secret in any of the kinds; None: in any kind known here."""
    known: Mapping[str, Kind] = service().kinds
    names = None if kinds is None else set(kinds)
    trees = [secret_fields(kind.schema) for name, kind in known.items() if names is None or name in names]
    return [path for path in payload if any(is_secret_at(path.split("."), tree) for tree in trees if tree)]


def _filter(asked: Mapping[str, Any], payload: Mapping[str, str], **paging: Any) -> JobFilter:
    conditions = {each.name: asked[parameter] for parameter, each in CONDITIONS.items() if parameter in asked}
    return JobFilter(**conditions, payload=payload, **paging)


def _check_no_secret(payload: Mapping[str, str], kinds: list[str] | None, by: Caller) -> None:
    """Return if the caller may see what is there. Otherwise a guess could be tested by the answer."""
    if by.may_see_secrets:
        return
    secret = secret_places(payload, kinds)
    if secret:
        raise Invalid(
            {
                f"{PREFIX}{path}": [
                    "Is secret in some kind: add a filter for kinds in which it is not secret, or use a key with"
                    " the scope admin."
                ]
                for path in secret
            }
        )
