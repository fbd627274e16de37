"""The published JSON schema and the check at run time say the same of each payload.

Judged by jsonschema_rs, which reads patterns as JSON schema has them: to Python, `$` would allow a line feed more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from jsonschema_rs import Draft202012Validator, meta
from marshmallow import (
    EXCLUDE,
    INCLUDE,
    Schema,
    ValidationError,
    fields,
    post_load,
    pre_load,
    validates,
    validates_schema,
)

from haulier.kinds import PayloadSchema, load_kinds
from tests.kinds.kinds_tools import settings

KINDS = load_kinds(settings())
MAIL = {"to": "a@b.c", "subject": "Hello", "body": "…"}
HOOK = {"url": "https://example.com/hooks", "body": None}

TAKEN: list[tuple[str, dict[str, Any]]] = [
    ("send_email", MAIL),
    ("send_email", {**MAIL, "subject": "", "body": ""}),
    ("send_email", {**MAIL, "html": None, "cc": None, "bcc": None, "reply_to": None}),
    ("send_email", {**MAIL, "cc": "a@b.c", "bcc": ["a@b.c", '"x y"@[::1]'], "reply_to": [], "html": "<p>"}),
    ("resize_image", {"source": "http://a/"}),
    ("resize_image", {"source": "HTTPS://a?b#c"}),
    ("resize_image", {"source": "file:cat.png", "width": 1, "height": 7000, "fit": "cover", "quality": 100}),
    ("resize_image", {"source": "data:,x", "width": None, "fit": None, "format": None, "target": None}),
    ("resize_image", {"source": "http://a/", "format": "webp", "target": "https://b/?c"}),
    ("summarize_text", {"text": "x"}),
    ("summarize_text", {"text": "x", "sentences": 5.0}),
    ("summarize_text", {"text": "\n", "sentences": 50, "language": "de"}),
    ("summarize_text", {"text": "x", "sentences": None, "language": None}),
    ("webhook_delivery", HOOK),
    ("webhook_delivery", {**HOOK, "body": [{"a": [1.5, True, None]}], "headers": {}, "event": "a.b"}),
    ("webhook_delivery", {**HOOK, "headers": {"X-A": "", "x_b~": "\t ~"}}),
    ("webhook_delivery", {**HOOK, "headers": None, "event": None}),
]
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("send_email", {}),
    *(("send_email", {**MAIL, field: value}) for field in MAIL for value in (None, 5, True, [], {})),
    *(("send_email", {**MAIL, "to": value}) for value in ("", "a", "a@b\n", "a b@c", "x" * 320 + "@b")),
    *(("send_email", {**MAIL, "subject": value}) for value in ("a\nb", "a\r", "\x85", "\u2028", "x" * 901)),
    *(("send_email", {**MAIL, "cc": value}) for value in (5, True, {}, "x", ["x"], [None], [["a@b"]], ["a@b"] * 101)),
    ("send_email", {**MAIL, "body": "a\x00b"}),
    ("send_email", {**MAIL, "html": 5}),
    ("send_email", {**MAIL, "Bcc": "a@b.c"}),
    *(
        ("resize_image", {"source": value})
        for value in (None, 5, "", "x", "ftp://a/", "http://", "http://a b", "file:", "data:x")
    ),
    *(("resize_image", {"source": "http://a/", "width": value}) for value in ("5", 2.9, True, 0, -1, 7001, 10**30, [])),
    *(("resize_image", {"source": "http://a/", "quality": value}) for value in (0, 101, "85", 1.5)),
    *(("resize_image", {"source": "http://a/", "fit": value}) for value in ("", "crop", 5)),
    *(("resize_image", {"source": "http://a/", "format": value}) for value in ("", "gif", "JPEG", 5)),
    *(
        ("resize_image", {"source": "http://a/", "target": value})
        for value in ("file:x", "x", 5, "http://a/" + "x" * 2048)
    ),
    *(("summarize_text", {"text": value}) for value in (None, "", 5, [], {}, "\x00")),
    *(("summarize_text", {"text": "x", "sentences": value}) for value in ("3", 2.9, True, 0, 51, [])),
    *(("summarize_text", {"text": "x", "language": value}) for value in ("", "xx", "EN", 5)),
    ("webhook_delivery", {"url": "http://a/"}),
    ("webhook_delivery", {"body": 1}),
    *(
        ("webhook_delivery", {**HOOK, "url": value})
        for value in (None, 5, "", "a", "file:x", "http://a\n", "http://a\\b/", "http:///x")
    ),
    *(
        ("webhook_delivery", {**HOOK, "headers": value})
        for value in ([], "x", {"a b": ""}, {"": ""}, {"a": None}, {"a": 5})
    ),
    *(("webhook_delivery", {**HOOK, "headers": {"a": value}}) for value in ("\n", "a\r\nb", "é", "x" * 4097)),
    ("webhook_delivery", {**HOOK, "headers": {f"x-{n}": "" for n in range(51)}}),
    *(("webhook_delivery", {**HOOK, "event": value}) for value in ("", "a b", "a\n", "x" * 129, 5)),
    ("webhook_delivery", {**HOOK, "method": "GET"}),
]


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """Give the JSON schema of each kind's payload as the OpenAPI document has it."""
    spec = APISpec("test", "1", "3.1.0", plugins=[MarshmallowPlugin()])
    for name, kind in KINDS.items():
        spec.components.schema(name, schema=kind.schema)
    schemas: dict[str, Any] = spec.to_dict()["components"]["schemas"]
    return schemas


def says_yes(kind: str, payload: dict[str, Any]) -> bool:
    try:
        KINDS[kind].load(payload)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("kind", "payload"), TAKEN)
def test_good_payload_is_taken_by_both(published: dict[str, Any], kind: str, payload: dict[str, Any]) -> None:
    Draft202012Validator(published[kind]).validate(payload)

    assert says_yes(kind, payload)


@pytest.mark.parametrize(("kind", "payload"), REFUSED)
def test_bad_payload_is_refused_by_both(published: dict[str, Any], kind: str, payload: dict[str, Any]) -> None:
    assert not Draft202012Validator(published[kind]).is_valid(payload)

    assert not says_yes(kind, payload)


def outcome_of(load: Callable[[dict[str, Any]], Any], payload: dict[str, Any]) -> tuple[list[tuple[str, Any]], Any]:
    """Give what is loaded, in its order, and what is said where it does not fit."""
    try:
        return list(load(payload).items()), None
    except ValidationError as error:
        return [], error.messages


@pytest.mark.parametrize(("kind", "payload"), TAKEN + REFUSED)
def test_straight_way_and_marshmallows_own_say_the_same(kind: str, payload: dict[str, Any]) -> None:
    schema, given = KINDS[kind].schema, deepcopy(payload)

    straight = outcome_of(schema.load, payload)
    # A way round, which marshmallow takes itself.
    own = outcome_of(lambda each: schema.load([each], many=True)[0], payload)

    assert straight == (own[0], own[1] and own[1][0])
    assert payload == given


def test_every_kind_goes_the_straight_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Schema, "load", None)

    loaded = [KINDS[kind].load(payload) for kind, payload in TAKEN]

    assert len(loaded) == len(TAKEN)


class Plain(PayloadSchema):
    n = fields.Integer(strict=True, load_default=lambda: 7)


class Before(Plain):
    @pre_load
    def double(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        return {"n": data["n"] * 2}


class After(Plain):
    @post_load
    def double(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        return {"n": data["n"] * 2}


class Judged(Plain):
    @validates_schema
    def refuse(self, data: dict[str, Any], **_: object) -> None:
        raise ValidationError("Not so.")


class JudgedField(Plain):
    @validates("n")
    def refuse(self, value: int, **_: object) -> None:
        raise ValidationError("Not so.")


class Ordered(Plain):
    @property
    def dict_class(self) -> type[dict[str, Any]]:
        return OrderedDict


class Renamed(PayloadSchema):
    n = fields.Integer(strict=True, data_key="number", attribute="amount", load_default=7)


@pytest.mark.parametrize(
    ("schema", "payload", "loaded"),
    [
        (Plain(), {}, {"n": 7}),
        (Before(), {"n": 3}, {"n": 6}),
        (After(), {"n": 3}, {"n": 6}),
        (Renamed(), {"number": 3}, {"amount": 3}),
        (Renamed(), {}, {"amount": 7}),
        (Plain(unknown=EXCLUDE), {"n": 3, "m": 4}, {"n": 3}),
        (Plain(unknown=INCLUDE), {"n": 3, "m": 4}, {"n": 3, "m": 4}),
        (Plain(partial=True), {}, {}),
        (Plain(many=True), [{"n": 3}], [{"n": 3}]),
        (Plain(only=()), {}, {}),
        (Ordered(), {"n": 3}, OrderedDict(n=3)),
    ],
)
def test_schema_that_does_more_still_does_it(schema: Schema, payload: Any, loaded: Any) -> None:
    found = schema.load(payload)

    assert found == loaded
    assert type(found) is type(loaded)


@pytest.mark.parametrize("schema", [Judged(), JudgedField()])
def test_schema_that_judges_still_does(schema: Schema) -> None:
    with pytest.raises(ValidationError, match="Not so"):
        schema.load({"n": 3})


def test_schema_of_many_takes_no_single_one() -> None:
    with pytest.raises(ValidationError, match="Invalid input type"):
        Plain(many=True).load({"n": 3})


def test_nested_schema_may_leave_fields_out() -> None:
    class Outer(PayloadSchema):
        inner = fields.Nested(Plain(), only=("n",), required=True)
        rest = fields.Nested(Plain(), exclude=("n",), required=True)

    assert Outer().load({"inner": {"n": 3}, "rest": {}}) == {"inner": {"n": 3}, "rest": {}}
    with pytest.raises(ValidationError, match="Unknown field"):
        Outer().load({"inner": {"n": 3}, "rest": {"n": 3}})


def test_every_field_is_described_and_every_example_is_valid(published: dict[str, Any]) -> None:
    for name in ("send_email", "resize_image", "summarize_text", "webhook_delivery"):
        meta.validate(published[name])
        assert published[name]["additionalProperties"] is False
        for field, schema in published[name]["properties"].items():
            assert schema["description"], (name, field)
            for example in schema.get("examples", []):
                Draft202012Validator(schema).validate(example)
