"""A request that does not fit gets 422, which names the parameter or the field at fault and no other."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from haulier.domain.act import Act
from haulier.domain.text import cut
from haulier.requests.invalid import MAX_NAME
from tests.http.answers import not_refused

ID = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
PAGING = [
    *((f"limit={value}", "limit") for value in ("ten", "", "2.5", "%D9%A3")),
    ("limit=5&limit=5", "limit"),
    *((f"offset={value}", "offset") for value in (-1, 10001, 2147483647, "9" * 5000)),
    *((f"cursor={value}", "cursor") for value in ("garbage", "", "%ff" * 32, "_" * 32)),
    ("offset=0&cursor=A" + "0" * 31, "cursor"),
]
CONDITIONS = [
    *((f"status={value}", "status") for value in ("done", "", "queued&status=lost")),
    *((f"kind={value}", "kind") for value in ("Send", "", "a%0a", "mail&kind=X")),
    *((f"queue={value}", "queue") for value in ("%00", "%ff", "&".join(f"queue=q{n}" for n in range(21)))),
    *((f"tag={value}", "tag") for value in ("", "a&tag=" + "x" * 65, "a%00", "&".join(f"tag=a{n}" for n in range(21)))),
    ("worker=me", "worker"),
    *((f"error={value}", "error") for value in ("", "F" * 16, "f" * 15, "ffffffffffffffff&error=0000000000000001")),
    *((f"key={value}", "key") for value in ("", "a%20b", "a&key=b")),
    *((f"attempts_min={value}", "attempts_min") for value in (-1, 1001)),
    ("created_after=2026-01-01", "created_after"),
    *((f"created_before={value}", "created_before") for value in ("2026-01-01T00:00:00", "9999-12-31T23:59:59-12:00")),
    ("finished_after=yesterday", "finished_after"),
    ("payload.a=1&payload.a=2", "payload.a"),
    ("payload.=1", "payload."),
    ("payload.a..b=1", "payload.a..b"),
    ("payload.a%00=1", "payload.a\0"),
    ("payload.a=%00", "payload.a"),
    ("payload.a=" + "x" * 1001, "payload.a"),
    ("payload." + "x" * 201 + "=1", cut("payload." + "x" * 201, MAX_NAME)),
    ("&".join(f"payload.a{n}=1" for n in range(6)), "_schema"),
    *(
        (f"payload={value}", "payload")
        for value in ("", "a", "%3D1", "a..b%3D1", "a%00%3D1", "a%3D%00", "a%3D" + "x" * 1001)
    ),
    *((f"payload=a%3D1&{more}", "payload.a") for more in ("payload=a%3D2", "payload.a=2")),
    ("payload=" + "x" * 201 + "%3D1", cut("payload." + "x" * 201, MAX_NAME)),
    ("&".join(f"payload=a{n}%3D1" for n in range(6)), "payload"),
    ("&".join(f"payload=a{n}%3D1&payload.b{n}=1" for n in range(3)), "_schema"),
    # Names that there are not.
    *((f"{name}=1", name) for name in ("payload", "kinds", "tags", "limitt", "LIMIT")),
]
DUE, STARTED = "sort=due&queue=mail&status=queued&status=retrying", "sort=started&status=running"
# Filters that the order does not take.
ORDERS = [
    *("sort=", "sort=DUE", "sort=newest", "sort=due", "sort=started", "sort=due&queue=mail", f"{DUE}&queue=bulk"),
    *("sort=due&status=queued&status=retrying", "sort=due&queue=mail&status=queued", "sort=started&status=queued"),
    *(f"{DUE}&{more}" for more in ("status=running", "kind=mail", "payload.a=1", "offset=0", "sort=due")),
    f"{DUE}&cursor=A{'A' * 31}",
    *(f"{STARTED}&{more}" for more in ("status=queued", "tag=night", "created_after=2026-01-01T00:00:00Z")),
    *(f"{STARTED}&{more}" for more in ("payload.a=1", "payload=a%3D1")),
]
REFUSED: dict[str, list[tuple[str, str]]] = {
    "/jobs": [*PAGING, *CONDITIONS, *((query, "sort") for query in ORDERS)],
    # A count has no page and no order.
    "/jobs/count": [
        *((query, query.partition("=")[0]) for query in ("limit=5", "offset=1", "cursor=x", STARTED)),
        *CONDITIONS,
    ],
    "/errors": [
        *((f"text={value}", "text") for value in ("", "x" * 201, "a%00b")),
        *((query, query.partition("=")[0]) for query in ("span=2h", "cursor=x", "status=failed")),
        ("sort=started", "sort"),
    ],
    "/stats": [
        *((f"span={value}", "span") for value in ("2h", "", "1h&span=6h")),
        *((query, query.partition("=")[0]) for query in ("unknown=1", "queue=X", "kind=a%20b", "limit=1")),
    ],
    "/workers": [("sort=started", "sort")],
    "/audit": [
        *((query, query.partition("=")[0]) for query in ("job=x", "limit=x", "cursor=x", "queue=mail")),
        (f"job={ID}&job={ID}", "job"),
        *((f"{name}={value}", name) for name in ("actor", "target") for value in ("", "a%00b", "x" * 201)),
        *((f"action={value}", "action") for value in ("create", "cancel&action=CANCEL")),
        ("&".join(["action=cancel"] * (len(Act) + 1)), "action"),
        ("after=yesterday", "after"),
        ("before=2026-01-01", "before"),
    ],
}


def test_names_the_parameter_that_does_not_fit(client: FlaskClient) -> None:
    wrong = {path: not_refused(lambda query: client.get(f"{path}?{query}"), REFUSED[path]) for path in REFUSED}  # noqa: B023

    assert wrong == dict.fromkeys(REFUSED, [])


UNTIL = "2030-01-01T00:00:00Z"
REFUSED_BODIES: dict[tuple[str, str], list[tuple[dict[str, Any], str]]] = {
    ("POST", "/queues/mail/pause"): [
        *(({"until": value}, "until") for value in ("2020-01-01T00:00:00Z", "tomorrow")),
        ({"untill": UNTIL}, "untill"),
    ],
    ("PATCH", "/errors/0123456789abcdef"): [
        *((body, "muted_until") for body in ({}, {"muted_until": "soon"})),
        ({"muted_until": None, "more": 1}, "more"),
    ],
}


def test_names_the_field_that_does_not_fit(client: FlaskClient) -> None:
    for (method, path), rows in REFUSED_BODIES.items():
        assert not_refused(lambda body: client.open(path, method=method, json=body), rows) == []  # noqa: B023
        answer = client.open(path, method=method, data="until=now", content_type="text/plain")
        assert answer.status_code == 415
    assert client.get("/queues").json == []
