"""API keys: list, make, rotate and revoke them."""

from __future__ import annotations

import re
from typing import Any

from flask.views import MethodView

from haulier.domain.api_key import KEY_ID_PATTERN, ApiKey, Scope
from haulier.domain.errors import KeyNotFound
from haulier.queue.access import api_keys
from haulier.requests.key_request import CreateKey, RotateKey, read_key, read_overlap
from haulier.requests.lists import ListKeys

from ..http.auth import caller
from ..http.routes import needs
from ..http.service import connection
from .openapi.document import NEXT_PAGE, fails, takes
from .reading import Blueprint, ViewResult, json_body, next_page, optional_body
from .schemas.api_key import KeyResponse, NewKeyResponse

blp = Blueprint("keys", __name__, description="API keys.")

# All but what has to be written otherwise.
TIMES = ("created_at", "expires_at", "last_used_at", "revoked_at", "rotated_until")
SHOWN = ("id", "name", "rate_limit", "moved_to", *TIMES)
WHY = "an API key may be valid for every queue"


@blp.route("/keys")
class Keys(MethodView):
    """All API keys."""

    @needs(Scope.ADMIN, every_queue=WHY)
    @fails(blp, 422, 503)
    @blp.doc(operationId="list_keys")
    @blp.arguments(ListKeys(), location="query")
    @blp.response(200, KeyResponse(many=True), headers=NEXT_PAGE, description="Newest first.")
    def get(self, asked: dict[str, Any]) -> ViewResult:
        """List API keys, including revoked and expired ones, newest first.

        For the next page, follow the `Link` header or repeat the call with `cursor` set to `Next-Cursor`.
        """
        with connection() as conn:
            found, has_more = api_keys.page_of_keys(conn, before=asked.get("cursor"), limit=asked["limit"])
        return [_shown(key) for key in found], 200, next_page(found[-1].id) if has_more else {}

    @needs(Scope.ADMIN, every_queue=WHY)
    @fails(blp, 400, 413, 415, 422, 503)
    @blp.doc(operationId="create_key", requestBody=takes(CreateKey))
    @blp.response(201, NewKeyResponse(), description="The new key, which is shown only this once.")
    def post(self) -> dict[str, Any]:
        """Create an API key.

        403 if the database role of the service may not create keys: the message names the command to use. Repeating
        this call creates another key.
        """
        new = read_key(json_body())
        with connection() as conn:
            return _with_token(*api_keys.create(conn, new, actor=caller().id))


@blp.route("/keys/<key_id>/rotate")
class Rotate(MethodView):
    """One key's rotation."""

    @needs(Scope.ADMIN, every_queue=WHY)
    @fails(blp, 400, 404, 409, 413, 415, 422, 503)
    @blp.doc(operationId="rotate_key", requestBody=takes(RotateKey, required=False))
    @blp.response(200, NewKeyResponse(), description="The key with its new secret, which is shown only this once.")
    def post(self, key_id: str) -> dict[str, Any]:
        """Give a key a new secret.

        The body may be empty. The old secret stays valid for `hours`; any older secret ends now. 404 if the key is
        revoked or expired, 409 if another cell takes its new jobs: rotate it there.
        """
        overlap = read_overlap(optional_body())
        with connection() as conn:
            return _with_token(*api_keys.rotated(conn, _read(key_id), overlap=overlap, actor=caller().id))


@blp.route("/keys/<key_id>/revoke")
class Revoke(MethodView):
    """One key's end."""

    @needs(Scope.ADMIN, every_queue=WHY)
    @fails(blp, 404, 422, 503)
    @blp.doc(operationId="revoke_key")
    @blp.response(200, KeyResponse(), description="The key as it is now.")
    def post(self, key_id: str) -> dict[str, Any]:
        """Revoke an API key.

        The body may be empty. All web processes refuse the key within 5 s. 404 if the key is already revoked.
        """
        with connection() as conn:
            return _shown(api_keys.revoke(conn, _read(key_id), actor=caller().id))


def _read(key_id: str) -> str:
    if not re.fullmatch(KEY_ID_PATTERN, key_id):
        raise KeyNotFound(f"{key_id:.100}")
    return key_id


def _shown(key: ApiKey) -> dict[str, Any]:
    values = {name: getattr(key, name) for name in SHOWN}
    queues = None if key.queues is None else sorted(key.queues)
    return {**values, "scopes": [str(scope) for scope in Scope if scope in key.scopes], "queues": queues}


def _with_token(key: ApiKey, token: str) -> dict[str, Any]:
    return {**_shown(key), "key": token}
