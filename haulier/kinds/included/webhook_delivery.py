"""webhook_delivery: one POST, signed as Standard Webhooks says.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError, fields, validate
from standardwebhooks import Webhook

from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.domain.job import Json
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.included.outbound.http_client import exchange, expect_success
from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.endings import Fail
from haulier.kinds.sdk.payload import Pattern, PayloadSchema, http_url
from haulier.kinds.sdk.registry import kind

SECONDS = 30.0
MAX_HEADERS = 50
LEAST_KEY = 24
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$"
HEADER_VALUE = r"^[\x20-\x7e\t]*$"
# The headers of the connection and of the message's framing; those of the signature, `webhook-*`, are refused too.
REFUSED_HEADERS = frozenset(
    ("connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "te", "trailer")
    + ("transfer-encoding", "upgrade", "proxy-authenticate", "proxy-authorization", "proxy-connection")
)


class Headers(fields.Dict):
    """The client's own headers, but for those that would break the message or its signature."""

    def __init__(self) -> None:
        super().__init__(
            keys=fields.String(validate=Pattern(HEADER_NAME, "Must be a valid header name.")),
            values=fields.String(
                validate=[
                    Pattern(HEADER_VALUE, "Must be printable ASCII on one line."),
                    validate.Length(max=4096),
                ]
            ),
            metadata={
                "description": "Further headers. Connection and framing headers and `webhook-*` are refused.",
                "examples": [{"Authorization": "Bearer 4f9c"}],
                "maxProperties": MAX_HEADERS,
                "anyOf": [{"propertyNames": {"pattern": HEADER_NAME}}],
            },
        )

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        # Checked first: otherwise a hundred thousand bad headers would each get an error message.
        if isinstance(value, Mapping) and len(value) > MAX_HEADERS:
            raise ValidationError(f"Must hold at most {MAX_HEADERS} headers.")
        headers = super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]
        refused = [name for name in headers if name.lower() in REFUSED_HEADERS or name.lower().startswith("webhook-")]
        if refused:
            raise ValidationError({name: ["This header is set by Haulier."] for name in refused})
        return headers


class WebhookDelivery(PayloadSchema):
    """The payload of webhook_delivery."""

    url = http_url("Where to POST. Redirects are not followed.", required=True, example="https://example.com/hooks")
    body = fields.Raw(
        required=True,
        allow_none=True,
        metadata={"description": "The body, sent as JSON; any JSON value.", "examples": [{"order": 42}]},
    )
    headers = Headers()
    event = fields.String(
        validate=Pattern(r"^[A-Za-z0-9_.:/-]{1,128}$", "Must be 1 to 128 letters, digits, or any of _ . : / -"),
        metadata={"description": "The event's name, sent as `webhook-event`.", "examples": ["order.paid"]},
    )


def check_secret(config: Config) -> str | None:
    """Return a warning if WEBHOOK_SECRET is short. Raises: ConfigError, which does not show the secret."""
    if any(len(key) < LEAST_KEY for key in _keys(config.webhook_secret or "")):
        return f"WEBHOOK_SECRET is short: Standard Webhooks asks for {LEAST_KEY} to 64 random bytes"
    return None


@kind("webhook_delivery", schema=WebhookDelivery, timeout=60, needs=("webhook_secret",), check=check_secret)
def deliver_webhook(context: JobContext, payload: dict[str, Json]) -> Json:
    """POST the body; 2xx succeeds, 408, 425, 429 and 5xx are retried, every other status is final."""
    body = json.dumps(payload["body"], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    started = time.monotonic()

    with (
        Deadline(context, SECONDS, "the delivery") as deadline,
        exchange(
            deadline, "POST", payload["url"], headers=_headers(context, payload, body), body=body.encode()
        ) as answer,
    ):
        if 300 <= answer.status < 400:
            raise Fail(f"{answer.summary}: redirects are not followed; give the final URL")
        expect_success(answer)
        answer.discard()

    return {"status": answer.status, "duration_ms": round((time.monotonic() - started) * 1000)}


def _headers(context: JobContext, payload: dict[str, Json], body: str) -> dict[str, str]:
    webhook_id, now = str(context.job.id), datetime.now(UTC)
    signatures = [signer.sign(webhook_id, now, body) for signer in _signers(context.settings.webhook_secret or "")]
    headers = {"content-type": "application/json"}
    headers |= {name.lower(): value for name, value in (payload.get("headers") or {}).items()}
    headers |= {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    if "event" in payload:
        headers["webhook-event"] = payload["event"]
    return headers


def _signers(secrets: str) -> list[Webhook]:
    """Return one signer for each secret; during a rotation several, separated by spaces, all sign."""
    return [Webhook(key) for key in _keys(secrets)]


def _keys(secrets: str) -> list[bytes]:
    keys = []
    for secret in secrets.split():
        digits = secret.removeprefix("whsec_").rstrip("=")
        try:
            # The package would skip characters that are not base64, and sign with a key that nobody meant.
            keys.append(base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True))
        except ValueError:
            keys.append(b"")
    if not all(keys):
        raise ConfigError("WEBHOOK_SECRET must be whsec_ followed by base64; separate several by spaces")
    return keys
