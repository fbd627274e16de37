"""Secret fields: which fields of a schema are, what a payload shows, and what no text may quote."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, quote_plus

from marshmallow import Schema, fields

from haulier.kinds import PayloadSchema
from haulier.kinds.sdk.secret_fields import masked, secret_fields, secret_texts, without, without_in

SECRET: dict[str, Any] = {"metadata": {"secret": True}}


class Plain(PayloadSchema):
    name = fields.String()
    more = fields.List(fields.String())


class Login(Schema):
    user = fields.String()
    password = fields.String(**SECRET)


class Tree(PayloadSchema):
    token = fields.String(**SECRET)
    children = fields.List(fields.Nested(lambda: Tree()))


class Rich(PayloadSchema):
    name = fields.String()
    token = fields.String(data_key="Token", **SECRET)
    login = fields.Nested(Login)
    logins = fields.List(fields.Nested(Login))
    keys = fields.Dict(keys=fields.String(), values=fields.String(**SECRET))
    box = fields.Dict(**SECRET)


RICH = Rich()


def test_a_schema_without_secret_fields_has_none():
    assert secret_fields(Plain()) is None


def test_a_payload_shows_the_mask_if_a_field_is_secret():
    for payload, shown in (
        ({"name": "ann"}, {"name": "ann"}),
        ({"Token": "swordfish"}, {"Token": "•••"}),
        ({"token": "an unknown name"}, {"token": "an unknown name"}),
        ({"Token": None}, {"Token": None}),
        ({"Token": ""}, {"Token": "•••"}),
        ({"Token": {"odd": [1]}}, {"Token": "•••"}),
        ({"login": {"user": "ann", "password": 7}}, {"login": {"user": "ann", "password": "•••"}}),
        ({"login": "odd"}, {"login": "odd"}),
        ({"logins": [{"password": "a"}, {"user": "b"}, 3]}, {"logins": [{"password": "•••"}, {"user": "b"}, 3]}),
        ({"keys": {"one": "a", "two": "b"}}, {"keys": {"one": "•••", "two": "•••"}}),
        ({"box": {"a": {"b": 1}}}, {"box": "•••"}),
    ):
        assert masked(payload, secret_fields(RICH)) == shown


def test_a_schema_may_hold_itself():
    tree = secret_fields(Tree())
    payload = {"token": "above", "children": [{"token": "below", "children": []}]}

    assert masked(payload, tree) == {"token": "•••", "children": [{"token": "•••", "children": []}]}
    assert set(secret_texts(payload, tree)) == {"above", "below"}


def test_no_text_quotes_a_secret_in_any_form():
    tree = secret_fields(RICH)
    for secret in ("swordfish", 'it\'s "so"', "back\\slash", "a b/c?é", "line\nfeed"):
        secrets = secret_texts({"login": {"password": secret}, "box": {"deep": [secret, secret + "er"]}}, tree)
        in_json = json.dumps(secret), json.dumps(secret, ensure_ascii=False)

        for form in (secret, repr(secret), *in_json, quote(secret, safe=""), quote(secret), quote_plus(secret)):
            assert without(f"see {form} there", secrets) in ("see ••• there", "see '•••' there", 'see "•••" there')
        assert without(f"see {secret}er there", secrets) == "see ••• there"


def test_short_values_are_not_looked_for():
    assert secret_texts({"Token": "abc", "box": {"n": 12, "m": 12345, "yes": True}}, secret_fields(RICH)) == ("12345",)


def test_a_value_without_secrets_is_still_json():
    value = {"pin": 12345, "x12345": [1.5, None, True, 'a\\"b', "12345 and"], "ab\\": {"deep": "see ab\\"}}

    assert without_in(value, ("12345", "ab\\", 'a\\"b')) == {
        "pin": "•••",
        "x•••": [1.5, None, True, "•••", "••• and"],
        "•••": {"deep": "see •••"},
    }
