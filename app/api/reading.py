"""Reads requests: the body's type, length and bytes, and the query."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import urlencode

import marshmallow
from flask import Request, Response, current_app, request
from flask_smorest import Blueprint as SmorestBlueprint
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge

from haulier.domain.job import Json
from haulier.requests.fields import Several, time_text
from haulier.requests.invalid import Invalid, Malformed, TooLarge
from haulier.requests.strict_json import parse

from ..http.own_path import own_path
from ..http.request_errors import UnsupportedMediaType
from ..http.routes import ROUTE
from ..http.service import current_request
from .schemas.response_schemas import ResponseSchema

View = TypeVar("View", bound=Callable[..., Any])
# The value to print, the status and the headers.
ViewResult = tuple[Any, int, dict[str, str]]

JSON_TYPE = "application/json"
_ENCODINGS = {"HTTP_CONTENT_ENCODING", "HTTP_TRANSFER_ENCODING"}


def body_type(*types: str) -> str:
    """Return the type of the request's body, one of these. Raises: UnsupportedMediaType."""
    request = current_request()
    environ = request.environ
    # A fast path for the header that nearly every client sends.
    if environ.get("CONTENT_TYPE") in types and not environ.keys() & _ENCODINGS:
        return str(environ["CONTENT_TYPE"])
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    # gunicorn removes the chunks' framing, but would pass a compressed body on as it is.
    transfer = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    is_plain = charset in ("utf-8", "utf8") and encoding == "identity" and transfer in ("chunked", "identity")
    if request.mimetype not in types or not is_plain:
        raise UnsupportedMediaType(f"the body's Content-Type must be {' or '.join(types)}, in UTF-8 and not compressed")
    return request.mimetype


def body() -> bytes:
    """Return the request's body.

    Raises: TooLarge for one longer than its route allows; Malformed for one that breaks off.
    """
    request = current_request()
    most, length, read = request.environ[ROUTE].most_bytes, request.content_length, b""
    try:
        if length is not None and length <= most:
            # Not get_data, which takes three times as long.
            read = request.environ["wsgi.input"].read(length)
        else:
            # One byte more than allowed: werkzeug cuts a chunked body off at its limit without an error.
            request.max_content_length = most + 1
            read = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise _too_large(most) from None
    # WSGI does not define what a server's stream may raise, and gunicorn has a dozen errors just for chunks.
    except Exception as error:
        raise Malformed(f"the body broke off: {error}") from None
    if len(read) > most:
        raise _too_large(most)
    # When the client leaves, gunicorn returns the part that has come; half a batch, cut at a line's end, looks whole.
    if len(read) < (length or 0):
        raise Malformed(f"the body broke off: only {len(read)} of {length} bytes arrived")
    return read


def json_body() -> Json:
    """Return the value of the body, which must be JSON. Raises: UnsupportedMediaType; TooLarge; Malformed."""
    body_type(JSON_TYPE)
    return parse(body())


def optional_body() -> Json:
    """Return the value of the body, or an empty object if there is none. Raises: as `json_body`."""
    if not (raw := body()):
        return {}
    body_type(JSON_TYPE)
    return parse(raw)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body is too long: at most {most} bytes are allowed")


class Parser(FlaskParser):  # type: ignore[misc, unused-ignore]
    """webargs for queries: refuses unknown parameters, and leaves the location out of an error's details."""

    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": marshmallow.RAISE}

    def load_querystring(self, req: Request, schema: marshmallow.Schema) -> dict[str, Any]:
        """Return the query's parameters, as lists if the schema takes several. Raises: ValidationError."""
        several = {name for name, field in schema.fields.items() if isinstance(field, Several)}
        given = {name: values for name, values in req.args.lists() if not _is_open(schema, name)}
        repeated = {name: values for name, values in given.items() if len(values) > 1 and name not in several}
        if repeated:
            raise marshmallow.ValidationError({name: ["Must be given only once."] for name in repeated})
        return {name: values if name in several else values[0] for name, values in given.items()}

    def handle_error(self, error: marshmallow.ValidationError, *_: Any, **__: Any) -> NoReturn:
        """Raise Invalid, which the table of errors knows."""
        # webargs puts the messages under the name of their location, "query".
        assert isinstance(error.messages, dict)
        [details] = error.messages.values()
        raise Invalid(details if isinstance(details, dict) else {"_schema": details}) from None


def _is_open(schema: marshmallow.Schema, name: str) -> bool:
    """Return whether the view reads this parameter itself, because the schema does not name it."""
    prefix: str | None = getattr(schema, "open_prefix", None)
    return prefix is not None and name.startswith(prefix)


def next_page(cursor: str) -> dict[str, str]:
    """Return the headers that lead from the page of the present request to the next one."""
    again = [(name, value) for name, value in request.args.items(multi=True) if name not in ("offset", "cursor")]
    query = urlencode([*again, ("cursor", cursor)])
    return {"Next-Cursor": cursor, "Link": f'<{own_path(request.path)}?{query}>; rel="next"'}


def looked_back_to(ended_at: datetime | None) -> dict[str, str]:
    """Return the header that says where a look ended early; none if it did not."""
    return {"Looked-Back-To": time_text(ended_at)} if ended_at else {}


def _documenting(decorate: Callable[[View], View]) -> Callable[[View], View]:
    """Return the decorator without the function that flask-smorest puts around each view only to document it."""

    def note(view: View) -> View:
        view._apidoc = decorate(view)._apidoc  # type: ignore[attr-defined]
        return view

    return note


class Blueprint(SmorestBlueprint):  # type: ignore[misc]
    """A documented blueprint whose arguments are read by `Parser`."""

    ARGUMENTS_PARSER = Parser()

    @staticmethod
    def doc(**words: Any) -> Callable[[View], View]:
        """Document a view in these words, as they stand."""
        return _documenting(SmorestBlueprint.doc(**words))

    def alt_response(self, *args: Any, **documented: Any) -> Callable[[View], View]:
        """Document another answer of a view."""
        return _documenting(super().alt_response(*args, **documented))

    def response(self, status_code: int, schema: Any = None, **documented: Any) -> Callable[[View], View]:
        """Document a view's answer, and print it.

        A view with a schema returns the value to print, or a tuple of value, status and headers, or a Response.
        Source: flask-smorest makes the response in four steps, which take a tenth of the time of a request.
        """
        document = super().response(status_code, schema, **documented)
        if not isinstance(schema, ResponseSchema):
            return cast(Callable[[View], View], document)

        def decorate(view: View) -> View:
            @functools.wraps(view)
            def answer(*args: Any, **kwargs: Any) -> Response:
                found = view(*args, **kwargs)
                if isinstance(found, Response):
                    return found
                shown, status, more = found if type(found) is tuple else (found, status_code, {})
                text, headers = schema.printed(shown) + b"\n", Headers()
                # One by one: werkzeug takes twice as long to make a response of a dict of them.
                for name, value in more.items():
                    headers.add(name, value)
                return current_app.response_class(text, status, headers, content_type=JSON_TYPE)

            return _documenting(cast(Callable[[View], View], document))(cast(View, answer))

        return decorate
