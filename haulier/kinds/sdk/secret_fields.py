"""The fields of a payload that its kind's schema marks as secret: `metadata={"secret": True}`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from marshmallow import Schema, fields

from haulier.domain.job import Json
from haulier.logs import MASK

# A shorter value is masked in its field, and not looked for in texts, of which it would leave little.
LEAST_LOOKED_FOR = 4
# The values of a Dict have no names.
_ANY = "*"

# The names of the fields that are secret, or hold some; True: all of the value is secret.
Tree = Mapping[str, Any]


@functools.cache
def secret_fields(schema: Schema) -> Tree | None:
    """Return which fields of the schema are secret; None if none is."""
    tree = _of_schema(schema, {})
    return tree if _has_any(tree, set()) else None


def _of_schema(schema: Schema, seen: dict[type[Schema], dict[str, Any]]) -> dict[str, Any]:
    if type(schema) in seen:
        return seen[type(schema)]
    tree = seen[type(schema)] = {}
    for name, field in schema.fields.items():
        found = _of_field(field, seen)
        if found is not None:
            tree[name if field.data_key is None else field.data_key] = found
    return tree


def _of_field(field: Any, seen: dict[type[Schema], dict[str, Any]]) -> Any:
    if field.metadata.get("secret"):
        return True
    if isinstance(field, fields.Nested):
        return _of_schema(field.schema, seen)
    if isinstance(field, fields.List):
        return _of_field(field.inner, seen)
    if isinstance(field, fields.Dict) and field.value_field is not None:
        found = _of_field(field.value_field, seen)
        return None if found is None else {_ANY: found}
    return None


def _has_any(tree: Any, seen: set[int]) -> bool:
    if tree is True or id(tree) in seen:
        return tree is True
    seen.add(id(tree))
    return any(_has_any(each, seen) for each in tree.values())


def masked(value: Json, tree: Any) -> Json:
    """Return the payload with each secret value replaced by MASK; null stays null."""
    if tree is True:
        return None if value is None else MASK
    if isinstance(value, list):
        return [masked(each, tree) for each in value]
    if isinstance(value, dict):
        found = {name: tree.get(name, tree.get(_ANY)) for name in value}
        return {name: each if found[name] is None else masked(each, found[name]) for name, each in value.items()}
    return value


def with_kept(value: Json, stored: Json, tree: Any) -> Json:
    """Return a payload that was read masked and sent back, with the stored secrets in the places of the masks.

    In a list that differs in more than its secrets nobody knows which element a mask belongs to.
    Raises: NothingToKeep.
    """
    if tree is True:
        if value == MASK and stored is None:
            raise NothingToKeep
        return stored if value == MASK else value
    if isinstance(value, list):
        is_same = isinstance(stored, list) and masked(value, tree) == masked(stored, tree)
        return [_kept_at(place, each, stored[place] if is_same else None, tree) for place, each in enumerate(value)]
    if isinstance(value, dict):
        trees = {name: tree.get(name, tree.get(_ANY)) for name in value}
        old = stored if isinstance(stored, dict) else {}
        return {
            name: each if trees[name] is None else _kept_at(name, each, old.get(name), trees[name])
            for name, each in value.items()
        }
    return value


class NothingToKeep(Exception):
    """There is a mask in a place whose secret is not stored. `path` leads there."""

    path: tuple[str | int, ...] = ()


def _kept_at(step: str | int, value: Json, stored: Json, tree: Any) -> Json:
    try:
        return with_kept(value, stored, tree)
    except NothingToKeep as error:
        error.path = (step, *error.path)
        raise


def is_secret_at(path: Sequence[str], tree: Any) -> bool:
    """Return whether what stands at this path of a payload is secret, or holds something that is."""
    for step in path:
        if tree is None or tree is True:
            break
        # A list has the tree of its elements.
        tree = tree if step.lstrip("-").isdigit() and step not in tree else tree.get(step, tree.get(_ANY))
    return tree is not None and _has_any(tree, set())


def secret_texts(payload: Json, tree: Tree) -> tuple[str, ...]:
    """Return the payload's secrets, in all forms in which a text may quote them, the longest first."""
    forms = {form for text in _leaves(payload, tree) if len(text) >= LEAST_LOOKED_FOR for form in _forms(text)}
    return tuple(sorted(forms, key=len, reverse=True))


def _leaves(value: Json, tree: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            below = tree if tree is True else tree.get(name, tree.get(_ANY))
            if below is not None:
                yield from _leaves(each, below)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each, tree)
    elif tree is True and isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def _forms(text: str) -> set[str]:
    escaped = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    in_urls = {quote(text, safe, errors="replace") for safe in ("", "/")} | {quote_plus(text, errors="replace")}
    return {text, repr(text)[1:-1], *escaped, *in_urls}


def without(text: str, secrets: tuple[str, ...]) -> str:
    """Return the text with each of these secrets replaced by MASK."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def without_in(value: Json, secrets: tuple[str, ...], *, in_keys: bool = True) -> Json:
    """Return the JSON value with each of these secrets replaced by MASK, in its numbers too, and in its keys."""
    if isinstance(value, str):
        return without(value, secrets)
    if isinstance(value, list):
        return [without_in(each, secrets, in_keys=in_keys) for each in value]
    if isinstance(value, dict):
        return {
            without(key, secrets) if in_keys else key: without_in(each, secrets, in_keys=in_keys)
            for key, each in value.items()
        }
    if isinstance(value, int | float) and not isinstance(value, bool):
        return MASK if without(str(value), secrets) != str(value) else value
    return value
