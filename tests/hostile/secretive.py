"""Kinds of a team's own: with secret fields, which quote them wherever they can, and one that quotes the settings."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote

from marshmallow import ValidationError, fields

from haulier.domain.job import Json
from haulier.kinds import Fail, JobContext, PayloadSchema, Retry, kind

log = logging.getLogger(__name__)


def quoting(value: str) -> None:
    if "wrong" in value:
        raise ValidationError(f"{value} is wrong: {value!r}")


class Login(PayloadSchema):
    user = fields.String(required=True)
    password = fields.String(required=True, validate=quoting, metadata={"secret": True})


class Secretive(PayloadSchema):
    how = fields.String(required=True)
    token = fields.String(required=True, validate=quoting, metadata={"secret": True})
    login = fields.Nested(Login)
    logins = fields.List(fields.Nested(Login))
    keys = fields.Dict(keys=fields.String(), values=fields.String(metadata={"secret": True}))
    pin = fields.Integer(metadata={"secret": True})


def run(context: JobContext, payload: dict[str, Json]) -> Json:
    """Say all secrets, and then end as the payload says."""
    token: str = payload["token"]
    context.progress(1, 2, f"with {token}")
    log.info("the token is %s, of %s", token, payload)
    log.debug(json.dumps(payload))
    try:
        raise KeyError(token)
    except KeyError:
        log.exception("not found: %r", token)
    return _end(payload, token)


def _end(payload: dict[str, Any], token: str) -> Json:
    match payload["how"]:
        case "raise":
            raise RuntimeError(f"cannot log in with {payload}")
        case "long":
            # Longer than an error may be: it is cut within the token.
            raise RuntimeError("x" * 4080 + token)
        case "retry":
            raise Retry(f"later: {token}", after=3600)
        case "fail":
            raise Fail(f"https://example.com/?token={quote(token)}&pin={payload.get('pin')}")
        case "nonsense":
            return {"token": {token}}
    return {"payload": payload, token: token, "user": (payload.get("login") or {}).get("user")}


kind("secretive", schema=Secretive, timeout=10)(run)
kind("secretive.isolated", schema=Secretive, timeout=10, isolated=True)(run)


@kind("leak", schema=PayloadSchema, timeout=5)
def leak(context: JobContext, payload: dict[str, Json]) -> Json:
    """Raise an error that quotes the settings, as drivers and HTTP libraries do."""
    raise RuntimeError(f"cannot reach {context.settings.database_url} nor {context.settings.smtp_url}")
