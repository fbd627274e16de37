"""What answers have in common: a refusal names the field at fault, and a page leads to the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse


def not_refused(
    send: Callable[[Any], TestResponse], rows: Iterable[tuple[Any, str]], refusal: tuple[int, str] = (422, "validation")
) -> list[str]:
    """Send each request, and return those whose answer is not the refusal, or names another field.

    Args:
        rows: A request, and the place in `details` that is at fault, by dots: `filter.kind`. Nothing else may be.
    """
    return [wrong for request, place in rows if (wrong := _wrong(send(request), request, place, refusal))]


def _wrong(answer: TestResponse, request: Any, place: str, refusal: tuple[int, str]) -> str | None:
    body = answer.json if isinstance(answer.json, dict) else {}
    found = (answer.status_code, body.get("error"))
    named = set(places(body.get("details")))
    if found == refusal and named and all(f"{each}.".startswith(f"{place}.") for each in named):
        return None
    return f"{request!r:.100} of {place!r}: {found}, {sorted(named)}"


def places(details: Any, within: str = "") -> Iterator[str]:
    if isinstance(details, dict):
        for name, inner in details.items():
            yield from places(inner, f"{within}.{name}" if within else name)
    elif details:
        yield within


def pages(client: FlaskClient, path: str, headers: Mapping[str, str] | None = None) -> list[list[Any]]:
    """Return what each page holds, from the first to the last to which they lead."""
    found = []
    while path:
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        assert ("Link" in answer.headers) == ("Next-Cursor" in answer.headers)
        found.append(answer.json)
        path = answer.headers.get("Link", "").removeprefix("<").partition(">")[0]
    return found
