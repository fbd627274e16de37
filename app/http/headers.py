"""The headers that keep a browser from doing with an answer what it was not meant for.

There are none of CORS among them: no other site's page may read this API.
"""

from __future__ import annotations

# Of what is no page: should a browser be made to show it, it loads, runs and embeds nothing.
DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# Of a page of ours: everything from this service, and no script or style written into the page.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# What a service says now may be otherwise a moment later.
NOT_KEPT = ("Cache-Control", "no-store")
ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    # Paths hold the ids of jobs.
    ("Referrer-Policy", "no-referrer"),
    # For browsers that do not know frame-ancestors.
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
ON_DATA = (*ALWAYS, ("Content-Security-Policy", DATA_POLICY))
ON_PAGES = (
    *ALWAYS,
    ("Content-Security-Policy", PAGE_POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
)


def with_standard(sent: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of a response with those that it must have; a page is known by its type.

    Shape: names and values, as WSGI has them; as such they cost a tenth of what they would in werkzeug's keeping.
    """
    types = [value for name, value in sent if name == "Content-Type"]
    is_kept = any(name == "Cache-Control" for name, _ in sent)
    standard = ON_PAGES if types and types[0].startswith("text/html") else ON_DATA
    return [*sent, *standard] if is_kept else [*sent, *standard, NOT_KEPT]
