"""The headers that keep a browser from using an answer in a way that it was not meant for.

No CORS headers: no other site's page may read this API.
"""

from __future__ import annotations

# For answers that are no pages: if a browser shows one all the same, the answer loads, runs and embeds nothing.
DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# For our pages: everything comes from this service, and the page holds no inline script or style.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# An answer may be out of date a moment later.
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
POLICY = "Content-Security-Policy"
ON_PAGES = (
    *ALWAYS,
    (POLICY, PAGE_POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
)


def with_standard(sent: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of a response, with the standard ones added; a page is known by its content type.

    A page that brings a policy of its own keeps what it brings.

    Pairs of name and value, as in WSGI; adding them in werkzeug takes ten times as long.
    """
    types = [value for name, value in sent if name == "Content-Type"]
    is_kept = any(name == "Cache-Control" for name, _ in sent)
    standard: tuple[tuple[str, str], ...] = ON_DATA
    if types and types[0].startswith("text/html"):
        names = {name for name, _ in sent}
        standard = tuple(each for each in ON_PAGES if each[0] not in names) if POLICY in names else ON_PAGES
    return [*sent, *standard] if is_kept else [*sent, *standard, NOT_KEPT]
