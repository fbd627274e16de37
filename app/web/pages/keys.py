"""API keys: the list, one key with its sessions; creating, rotating and revoking one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flask import request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import KEY_ID_PATTERN, ApiKey, Scope, id_of
from haulier.domain.errors import KeyElsewhere, KeyExists, KeyNotFound, KeyRotated, KeysNotAllowed
from haulier.domain.job import Json
from haulier.queue.access import api_keys, sessions
from haulier.requests.invalid import Invalid
from haulier.requests.key_request import read_key, read_overlap

from ...http.auth import caller
from ...http.service import connection
from ..forms.job_form import Form, faults_of, once_of, tags_of, values_of
from ..kit.flash import done
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.permissions import unless
from ..kit.reading import part, read, shelf
from ..kit.section import Section
from ..kit.viewer import viewer
from .sign_in import signed_out

WHY = "API keys may cover every queue"
MOST, MOST_SESSIONS = 50, 20
# How long a process caches whether it may write keys.
RIGHTS_SECONDS = 30.0
ID = re.compile(KEY_ID_PATTERN)
NAMES = ("name", "scopes", "queues", "rate_limit", "days")
SCOPES: Mapping[str, str] = {
    "enqueue": "enqueue jobs",
    "read": "view jobs, queues, workers and figures",
    "operate": "change, cancel, retry and pause; view the audit and the database",
    "admin": "everything, including API keys",
}
NOT_OWN = (
    "To end these sessions, rotate the key and choose “not at all” for its current secret: they end within 5 s."
    " Signing them out from here would be recorded as an act of the other key."
)
OVERLAPS: Mapping[str, str] = {"0": "not at all", "1": "for 1 hour", "24": "for 24 hours", "168": "for 7 days"}

section = Section("keys", __name__, MenuEntry("Access", 10, "API keys", "keys"))


def _for_reading() -> str | None:
    """Return why keys are read-only here; None if the database role of this process may write them."""
    found = shelf().get(("may write keys",), lambda: part(api_keys.may_write), RIGHTS_SECONDS)
    return str(KeysNotAllowed("create")) if found.value is False else None


@section.page("/keys", Scope.ADMIN, every_queue=WHY)
def show() -> Page:
    """Return the keys, newest first, revoked and expired ones included."""
    before = request.args.get("older", "")
    before = before if ID.fullmatch(before) else ""
    found = part(lambda conn: api_keys.page_of_keys(conn, before=before or None, limit=MOST))
    keys, has_more = found.value or ([], False)
    return Page(
        "keys.html",
        "API keys",
        found=found,
        keys=keys,
        state_of=state_of,
        scopes_of=scopes_of,
        older=url_for("ui.keys.show", older=keys[-1].id) if has_more else None,
        newest=url_for("ui.keys.show") if before else None,
    )


def state_of(key: ApiKey) -> str:
    """Return whether a key is active, revoked, expired, or active but with its new jobs in another cell."""
    is_old = key.expires_at is not None and key.expires_at <= viewer().now
    return "revoked" if key.revoked_at else "expired" if is_old else "moved" if key.moved_to else "active"


def scopes_of(key: ApiKey) -> str:
    """Return the scopes of a key, the least first."""
    return ", ".join(scope for scope in Scope if scope in key.scopes)


@section.page("/keys/new", Scope.ADMIN, every_queue=WHY, for_acting=True)
@unless(_for_reading)
def new() -> Page:
    """Return the form for a new key."""
    return _form(Form({}), [])


def _form(form: Form, ticked: Sequence[str], status: int = 200) -> Page:
    return Page("new_key.html", "New API key", status=status, form=form, scopes=SCOPES, ticked=ticked)


@section.act("/keys/new", Scope.ADMIN, every_queue=WHY)
@unless(_for_reading)
def create() -> Page:
    """Create a key, once per form, and show it once. Without a redirect, because nothing stores the key."""
    values = values_of(request.form, NAMES)
    ticked = [each for each in request.form.getlist("scopes") if each in SCOPES]
    try:
        asked = read_key(_asked(values, ticked))
        with connection() as conn:
            key, token = api_keys.create(conn, asked, actor=caller().id, key_id=id_of(once_of(request.form)))
    except Invalid as error:
        return _form(Form(values, faults_of(error, NAMES)), ticked, 422)
    except KeyExists as error:
        return _form(
            Form(values, {"": f"This form was already sent: {error}. Send it again to create another key."}),
            ticked,
            409,
        )
    except KeysNotAllowed as error:
        return _form(Form(values, {"": str(error)}), ticked, 403)
    shelf().clear()
    return Page("key_shown.html", "The new API key", status=201, key=key, token=token, is_new=True)


def _asked(values: Mapping[str, str], ticked: Sequence[str]) -> dict[str, Json]:
    asked: dict[str, Json] = {"name": values["name"], "scopes": list(ticked)}
    if values["queues"]:
        asked["queues"] = tags_of(values["queues"])
    asked.update({name: _decimal(values[name]) for name in ("rate_limit", "days") if values[name]})
    return asked


def _decimal(text: str) -> Json:
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) else text


@section.page("/keys/<key_id>", Scope.ADMIN, every_queue=WHY)
def one(key_id: str) -> Page:
    """Return the page of an active key."""
    return _page(key_id)


def _page(key_id: str, fault: str = "", status: int = 200) -> Page:
    key = _good(key_id)
    return Page(
        "key.html",
        f"API key {key.name}",
        status=status,
        key=key,
        scopes_of=scopes_of,
        sessions=part(lambda conn: sessions.list_sessions(conn, key_id, limit=MOST_SESSIONS)),
        not_own=None if caller().id == key.id else NOT_OWN,
        overlaps=OVERLAPS,
        fault=fault,
    )


def _good(key_id: str) -> ApiKey:
    """Return the key. Raises: KeyNotFound if it is revoked or expired."""
    found = read(lambda conn: api_keys.find(conn, key_id)) if ID.fullmatch(key_id) else None
    if found is None:
        raise KeyNotFound(f"{key_id:.100}")
    return found.key


@section.act("/keys/<key_id>/rotate", Scope.ADMIN, every_queue=WHY)
@unless(_for_reading)
def rotate(key_id: str) -> Page:
    """Give the key a new secret, once per form, and show it once."""
    _good(key_id)
    hours, seen = request.form.get("hours", "24"), request.form.get("seen", "")
    try:
        overlap = read_overlap({"hours": _decimal(hours)})
        with connection() as conn:
            key, token = api_keys.rotated(conn, key_id, overlap=overlap, actor=caller().id, seen=seen)
    except Invalid as error:
        return _page(key_id, str(error), 422)
    except (KeyRotated, KeyElsewhere) as error:
        return _page(key_id, str(error), 409)
    except KeysNotAllowed as error:
        return _page(key_id, str(error), 403)
    shelf().clear()
    return Page("key_shown.html", "The new secret", key=key, token=token, is_new=False, old_hours=hours)


@section.act("/keys/<key_id>/revoke", Scope.ADMIN, every_queue=WHY)
@unless(_for_reading)
def revoke(key_id: str) -> Page | Response:
    """Revoke the key if its name was typed."""
    key = _good(key_id)
    if request.form.get("confirm", "").strip() != key.name.strip():
        return _page(key_id, "Type its name to revoke it.", 422)
    try:
        with connection() as conn:
            api_keys.revoke(conn, key_id, actor=caller().id)
    except KeysNotAllowed as error:
        return _page(key_id, str(error), 403)
    return done(f"Revoked {key.name}. Web processes stop accepting it within 5 s.", url_for("ui.keys.show"))


@section.act("/keys/<key_id>/sign-out", Scope.ADMIN, every_queue=WHY)
def sign_out(key_id: str) -> Page | Response:
    """End every session of the viewer's own key, this one included."""
    key = _good(key_id)
    # The audit would record that the other key ended its own session.
    if caller().id != key.id:
        return _page(key_id, NOT_OWN, 409)
    with connection() as conn:
        sessions.sign_out_all(conn, key.id)
    return signed_out()
