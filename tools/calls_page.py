"""The reference page of the HTTP API: the OpenAPI document as tables, by tag."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
START = (
    "# HTTP calls\n\nLook up a call: its parameters, bodies and answers. [HTTP API](../api.md) shows how to use them."
)
LIMITS = {"minimum": "from", "maximum": "to", "default": "by default"}


def calls_page(document: Schema) -> str:
    """Return the page in Markdown: the calls by tag, the answers to refused calls, and all bodies."""
    lines = [START]
    for tag in document["tags"]:
        lines += [f"## {tag['name'].capitalize()}", tag["description"]]
        for path, item in document["paths"].items():
            for method, call in item.items():
                if method != "parameters" and tag["name"] in call["tags"]:
                    lines += _call(f"{method.upper()} {path}", call, item.get("parameters", []))
    refused = [(f"`{name}`", answer["description"]) for name, answer in document["components"]["responses"].items()]
    lines += [
        "## Refused calls",
        "Each has an [ErrorBody](#errorbody).",
        table("Answer | Meaning", refused),
        "## Bodies",
    ]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name} {{ #{name.lower()} }}", schema.get("description", ""), _body(schema)]
    return "\n\n".join(line for line in lines if line) + "\n"


def _call(title: str, call: Schema, shared: list[Schema]) -> Iterator[str]:
    yield from (f"### {title} {{ #{call['operationId']} }}", f"**{call['summary']}**", call.get("description", ""))
    scopes = [f"`{scope}`" for each in call.get("security", []) for scope in each.get("apiKey", [])]
    yield f"Scope of the API key: {' or '.join(scopes)}." if scopes else ""
    types = [(each, _type(each["schema"], each.get("required"))) for each in [*shared, *call.get("parameters", [])]]
    rows = [(f"`{each['name']}`", each["in"], type_, _about(each)) for each, type_ in types]
    yield table("Parameter | In | Type | Meaning", rows)
    for media, body in call.get("requestBody", {}).get("content", {}).items():
        is_required = call["requestBody"].get("required", False)
        yield f"Body (`{media}`): {_type(body['schema'], is_required)}. {_about(body['schema'])}"
    answers = {status: answer for status, answer in sorted(call["responses"].items()) if "$ref" not in answer}
    yield table("Answer | Meaning | Body | Headers", [_answer(*each) for each in answers.items()])
    refused = [f"`{status}`" for status in sorted(call["responses"]) if status not in answers]
    yield f"May be [refused](#refused-calls) with {', '.join(refused)}." if refused else ""


def _answer(status: str, answer: Schema) -> tuple[str, ...]:
    bodies = [_type(content.get("schema", {"type": media})) for media, content in answer.get("content", {}).items()]
    headers = [f"`{name}`" for name in answer.get("headers", {}) if name != "X-Request-Id"]
    return f"`{status}`", _about(answer), " or ".join(bodies), ", ".join(headers)


def _body(schema: Schema) -> str:
    fields, required = schema.get("properties", {}), schema.get("required", [])
    rows = [(f"`{name}`", _type(of, name in required), _about(of)) for name, of in fields.items()]
    return table("Field | Type | Meaning", rows) if rows else _type(schema)


def _about(schema: Schema) -> str:
    return str(schema.get("description", ""))


def _type(schema: Schema, is_required: bool = False) -> str:
    """Return what a value may be: `integer, from 0`, `list of string`, or a link to a body of the page."""
    types = schema.get("type", "any JSON")
    kind = " or ".join(types) if isinstance(types, list) else types
    kind = kind.replace("string", schema.get("format", "string"))
    if name := schema.get("$ref", "").rpartition("/")[2]:
        kind = f"[{name}](#{name.lower()})"
    elif choices := schema.get("allOf") or schema.get("anyOf") or schema.get("oneOf"):
        kind = " or ".join(_type(each) for each in choices)
    elif "enum" in schema:
        kind = " or ".join("null" if value is None else f"`{value}`" for value in schema["enum"])
    elif kind == "array":
        kind = f"list of {_type(schema['items'])}"
    limits = [f", {word} {str(schema[limit]).removesuffix('.0')}" for limit, word in LIMITS.items() if limit in schema]
    return kind + "".join(limits) + (", required" if is_required else "")


def table(head: str, rows: list[tuple[str, ...]]) -> str:
    """Return a table without the columns that are empty in every row; no text without rows."""
    kept = [place for place in range(len(head.split(" | "))) if any(row[place] for row in rows)]
    cells = [head.split(" | "), ["---"] * 9, *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row[place] for place in kept)} |" for row in cells) if rows else ""


def _cell(text: str) -> str:
    # In code a bar ends no cell.
    return re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or "\\|", " ".join(text.split()))
