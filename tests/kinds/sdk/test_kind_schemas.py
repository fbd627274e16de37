"""The published JSON schema and the check at run time say the same of each payload.

Judged by jsonschema_rs, which reads patterns as JSON schema has them: to Python, `$` would allow a line feed more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar

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

from haulier import kinds
from haulier.domain.outcome import Verb
from haulier.kinds import PayloadSchema, load_kinds
from haulier.kinds.sdk.payload import MAX_UNKNOWN, unexplained
from haulier.kinds.sdk.registry import known
from haulier.worker.steps.execute import run_one
from tests.kinds.kinds_tools import a_context, error_of, run, settings

KINDS = load_kinds(settings())
# A good payload of each kind, with the required fields only.
GOOD: dict[str, dict[str, Any]] = {
    "send_email": {"to": "a@b.c", "subject": "Hello", "body": "…"},
    "resize_image": {"source": "http://a/"},
    "summarize_text": {"text": "x"},
    "webhook_delivery": {"url": "https://example.com/hooks", "body": None},
}
# Changes of it that are good as well.
GOOD_CHANGES: dict[str, list[dict[str, Any]]] = {
    "send_email": [
        {"subject": "", "body": ""},
        {"html": None, "cc": None, "bcc": None, "reply_to": None},
        {"cc": "a@b.c", "bcc": ["a@b.c", '"x y"@[::1]'], "reply_to": [], "html": "<p>"},
    ],
    "resize_image": [
        {"source": "HTTPS://a?b#c"},
        {"source": "file:cat.png", "width": 1, "height": 7000, "fit": "cover", "quality": 100},
        {"source": "data:,x", "width": None, "fit": None, "format": None, "target": None},
        {"format": "webp", "target": "https://b/?c"},
    ],
    "summarize_text": [
        {"sentences": 5.0},
        {"text": "\n", "sentences": 50, "language": "de"},
        {"sentences": None, "language": None},
    ],
    "webhook_delivery": [
        {"body": [{"a": [1.5, True, None]}], "headers": {}, "event": "a.b"},
        {"headers": {"X-A": "", "x_b~": "\t ~"}},
        {"headers": None, "event": None},
    ],
}
NO_TEXT = (None, 5, True, [], {})
# Values of each field that are not.
BAD_VALUES: dict[str, dict[str, tuple[Any, ...]]] = {
    "send_email": {
        "to": (
            *(*NO_TEXT, ["a@b.c"], "", "a", "@", "a@", "@b", "a@b\n", "a b@c", "a@b c", "a@b@c", "a@b,c@d", "a@b;c@d"),
            *("<a@b>", "Ann <a@b.c>", "a@b>", "a@b> SIZE=1", "a@b (x)", "(x)a@b", "a:b@c", '"@b', '"a"b"@c', "a@[b"),
            *(
                "a@b..c",
                "a@b.c.",
                "a@.b.c",
                "a\u00a0@b",
                "a@\u2003b",
                "a@b.c\u3002",
                "a@b\uff0e\uff61c",
                "x" * 320 + "@b",
            ),
        ),
        "subject": (*NO_TEXT, "a\nb", "a\r", "\x85", "\u2028", "x" * 901),
        "body": (*NO_TEXT, "a\x00b"),
        "cc": (5, True, {}, {"a": 1}, "x", ["x"], [5], [None], ["a@b.c", "x"], [["a@b"]], ["a@b"] * 101),
        "html": (5,),
        "Bcc": ("a@b.c",),
    },
    "resize_image": {
        "source": (None, 5, "", "x", "ftp://a/", "http://", "http://a b", "http://a.b/c\n", "file:", "data:x"),
        "width": ("5", 2.9, True, 0, -1, 7001, 10**400, []),
        "height": ("5", 0, 7001),
        "quality": (0, 101, "85", 1.5),
        "fit": ("", "crop", 5),
        "format": ("", "gif", "JPEG", 5),
        "target": ("file:x", "x", 5, "http://a/" + "x" * 2048),
        "widht": (5,),
    },
    "summarize_text": {
        "text": (*NO_TEXT, "", "\x00"),
        "sentences": ("3", 2.9, True, 0, 51, []),
        "language": ("", "xx", "EN", 5),
        "max": (1,),
    },
    "webhook_delivery": {
        "url": (None, 5, "", "a", "ftp://a/", "http://a\n", "http://a\\b/", "http:///x", "http://a/" + "x" * 2048),
        "headers": (
            *([], "x", {"a b": ""}, {"": ""}, {"a": None}, {"a": 5}, {f"x-{n}": "" for n in range(51)}),
            *({"a": value} for value in ("\n", "b\n", "a\r\nb", "é", "x" * 4097)),
        ),
        "event": ("", "a b", "a\n", "x" * 129, 5),
        "method": ("GET",),
    },
}
TAKEN = [(kind, {**GOOD[kind], **change}) for kind in GOOD for change in ({}, *GOOD_CHANGES[kind])]
# Each with the field that the refusal names.
REFUSED = [
    *(
        (kind, {**GOOD[kind], field: value}, field)
        for kind, fields_of_kind in BAD_VALUES.items()
        for field, values in fields_of_kind.items()
        for value in values
    ),
    *(
        (kind, {name: each[name] for name in each if name != field}, field)
        for kind, each in GOOD.items()
        for field in each
    ),
]


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """Give the JSON schema of each kind's payload as the OpenAPI document has it."""
    spec = APISpec("test", "1", "3.1.0", plugins=[MarshmallowPlugin()])
    for name, kind in KINDS.items():
        spec.components.schema(name, schema=kind.schema)
    schemas: dict[str, Any] = spec.to_dict()["components"]["schemas"]
    return schemas


def test_check_and_published_schema_take_the_same_payloads(published):
    def verdicts(kind: str, payload: dict[str, Any]) -> tuple[bool, bool]:
        return Draft202012Validator(published[kind]).is_valid(payload), not error_of(KINDS[kind].load, payload)

    assert [each for each in TAKEN if verdicts(*each) != (True, True)] == []
    assert [each for each in REFUSED if verdicts(*each[:2]) != (False, False)] == []


def test_payload_that_is_refused_is_final_and_names_the_field():
    offenders = []
    for kind, payload, field in REFUSED:
        error = error_of(run, kind, payload, smtp_url="smtp://127.0.0.1:1")
        if not re.match(rf"(Fail|UnknownFields): the payload is invalid for {kind}: {field}[.:]", error):
            offenders.append((kind, payload, error))

    assert offenders == []


def outcome_of(load: Callable[[dict[str, Any]], Any], payload: dict[str, Any]) -> tuple[list[tuple[str, Any]], Any]:
    """Return the fields that are loaded, in their order, and the messages if the payload is refused."""
    try:
        return list(load(payload).items()), None
    except ValidationError as error:
        return [], error.messages


def test_short_way_and_marshmallows_own_load_and_say_the_same():
    offenders = []
    for kind, payload in [*TAKEN, *(each[:2] for each in REFUSED)]:
        schema, before = KINDS[kind].schema, deepcopy(payload)
        short = outcome_of(schema.load, payload)
        # Marshmallow itself loads many.
        own = outcome_of(lambda each, schema=schema: schema.load([each], many=True)[0], payload)
        if short != (own[0], own[1] and own[1][0]) or payload != before:
            offenders.append((kind, payload, short, own))

    assert offenders == []


def test_every_kind_goes_the_short_way(monkeypatch):
    monkeypatch.setattr(Schema, "load", None)

    assert all(KINDS[kind].load(payload) for kind, payload in TAKEN)


class Plain(PayloadSchema):
    n = fields.Integer(strict=True, load_default=lambda: 7)


class Renamed(PayloadSchema):
    n = fields.Integer(strict=True, data_key="number", attribute="amount", load_default=7)


def hooked(hook: Any) -> Schema:
    return type("Hooked", (Plain,), {"hook": hook})()


def test_schema_that_does_more_still_does_it():
    for schema, payload, loaded in (
        (Plain(), {}, {"n": 7}),
        (hooked(pre_load(lambda self, data, **_: {"n": data["n"] * 2})), {"n": 3}, {"n": 6}),
        (hooked(post_load(lambda self, data, **_: {"n": data["n"] * 2})), {"n": 3}, {"n": 6}),
        (Renamed(), {"number": 3}, {"amount": 3}),
        (Renamed(), {}, {"amount": 7}),
        (Plain(unknown=EXCLUDE), {"n": 3, "m": 4}, {"n": 3}),
        (Plain(unknown=INCLUDE), {"n": 3, "m": 4}, {"n": 3, "m": 4}),
        (Plain(partial=True), {}, {}),
        (Plain(many=True), [{"n": 3}], [{"n": 3}]),
        (Plain(only=()), {}, {}),
    ):
        assert schema.load(payload) == loaded


def test_schema_may_ignore_or_keep_unknown_fields(own_kinds):
    many = {"n": 3, **{f"m{number}": 4 for number in range(MAX_UNKNOWN + 5)}}
    for unknown, loaded in ((EXCLUDE, {"n": 3}), (INCLUDE, many)):
        schema = type("Lenient", (Plain,), {"Meta": type("Meta", (), {"unknown": unknown})})
        kinds.kind("test.lenient", schema=schema)(lambda context, payload: None)

        assert known()["test.lenient"].load(many) == loaded
        with unexplained():
            assert known()["test.lenient"].load(many) == loaded


def test_unknown_field_is_named_without_the_secrets_of_its_payload(own_kinds):
    class Box(PayloadSchema):
        token = fields.String(metadata={"secret": True})

    kinds.kind("test.box", schema=Box)(lambda context, payload: None)
    payload = {"token": "swordfish", "swordfish": 1, "https://bob:hunter2@host": 2}

    outcome = run_one(known()["test.box"], a_context("test.box", payload))

    assert outcome.verb is Verb.RELEASE
    assert {"•••", "https://bob:***@host"} == set(outcome.error.partition(": ")[2].partition(";")[0].split(", "))


def test_unknown_field_is_known_as_one_in_the_words_of_its_schema(own_kinds):
    class Inner(PayloadSchema):
        error_messages: ClassVar[dict[str, str]] = {"unknown": "Kenne ich nicht."}

    class Outer(Inner):
        inner = fields.Nested(Inner)
        foreign = fields.Nested(Plain)

    kinds.kind("test.words", schema=Outer)(lambda context, payload: None)

    for payload, name in (
        ({"lang": "de"}, "lang"),
        ({"inner": {"lang": "de"}}, "inner.lang"),
        ({"foreign": {"n": 3, "lang": "de"}}, "foreign.lang"),
    ):
        outcome = run_one(known()["test.words"], a_context("test.words", payload))
        assert (outcome.verb, name in (outcome.error or "")) == (Verb.RELEASE, True)


def test_schema_that_judges_or_takes_many_still_does():
    def refuse(*_: object, **__: object) -> None:
        raise ValidationError("Not so.")

    for schema, complaint in (
        (hooked(validates_schema(lambda self, data, **_: refuse())), "Not so"),
        (hooked(validates("n")(lambda self, value, **_: refuse())), "Not so"),
        (Plain(many=True), "Invalid input type"),
    ):
        with pytest.raises(ValidationError, match=complaint):
            schema.load({"n": 3})


def test_field_that_judges_by_itself_still_does():
    def refuse(*_: object) -> None:
        raise ValidationError("Not so.")

    judges = [{"_validate": refuse}, {"_validate_missing": refuse}, {"_validate_all": property(lambda _: refuse)}]
    for own in judges:
        field = type("Judging", (fields.Integer,), own)()
        schema = type("Judged", (PayloadSchema,), {"n": field})()
        with pytest.raises(ValidationError, match="Not so"):
            schema.load({"n": 3})


def test_nested_schema_may_leave_fields_out():
    class Outer(PayloadSchema):
        inner = fields.Nested(Plain(), only=("n",), required=True)
        rest = fields.Nested(Plain(), exclude=("n",), required=True)

    assert Outer().load({"inner": {"n": 3}, "rest": {}}) == {"inner": {"n": 3}, "rest": {}}
    with pytest.raises(ValidationError, match="Unknown field"):
        Outer().load({"inner": {"n": 3}, "rest": {"n": 3}})


def test_every_field_is_described_and_every_example_is_valid(published):
    for name in GOOD:
        meta.validate(published[name])
        assert published[name]["additionalProperties"] is False
        for field, schema in published[name]["properties"].items():
            assert schema["description"], (name, field)
            for example in schema.get("examples", []):
                Draft202012Validator(schema).validate(example)
