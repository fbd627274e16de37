"""What OpenAPI cannot say, kept by the client: a key stands for one request; offset excludes cursor; and with
atomic=false a bad item gets its 422 inside an answer that is 200."""

from __future__ import annotations

import re
import uuid
from typing import Any

import schemathesis
from schemathesis import GenerationMode

KEY = re.compile(r'(?!""$)[!-~]{1,255}')


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give each good key to one request alone, drop a good offset beside a cursor, send bad batches as atomic."""
    if case.headers:
        for name, value in list(case.headers.items()):
            if name.lower() == "idempotency-key" and _is_key(value):
                case.headers[name] = uuid.uuid4().hex
    for item in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(item, dict) and _is_key(item.get("idempotency_key")):
            item["idempotency_key"] = uuid.uuid4().hex
    query = case.query or {}
    if "cursor" in query and re.fullmatch(r"[0-9]{1,10}", str(query.get("offset", ""))):
        del query["offset"]
    if query.get("atomic") == "false" and case.meta.generation.mode is GenerationMode.NEGATIVE:
        del query["atomic"]


def _is_key(value: object) -> bool:
    return isinstance(value, str) and KEY.fullmatch(value) is not None
