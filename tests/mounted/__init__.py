"""For tests of Haulier inside another web application: two shops, as docs/mount.md makes them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.docs.reading import blocks_of
from tests.web import ROOT, Server, free_address, serving

MOUNT = "/haulier"
PAGE = "docs/mount.md"
SITES = Path(__file__).parent
# The shop has a session of its own, at the path of all cookies.
FLASK_ROUTES = """
from flask import session

app.secret_key = "of the shop"


@app.get("/")
def home():
    session["basket"] = "pen"
    return "<h1>The shop</h1>"
"""
# A server that forks after it has loaded the application, and one with a thread for each request.
GUNICORN = "-m gunicorn --preload --workers 2 --worker-class gthread --threads 4 --bind"
THREADED = """
import sys
from shop.wsgi import application
from werkzeug.serving import run_simple
host, port = sys.argv[1].split(":")
run_simple(host, int(port), application, threaded=True)
"""


def write_flask_shop(folder: Path) -> list[str]:
    (folder / "shop.py").write_text(_block("shop.py") + FLASK_ROUTES)
    # Not as an option, which older releases do not know.
    (folder / "gunicorn.conf.py").write_text("control_socket_disable = True\n")
    return GUNICORN.split()


def write_django_shop(folder: Path) -> list[str]:
    shutil.copytree(SITES / "django_site", folder, dirs_exist_ok=True)
    (folder / "shop" / "wsgi.py").write_text(_block("shop/wsgi.py"))
    return ["-c", THREADED]


def _block(name: str) -> str:
    [block] = [block for block in blocks_of(PAGE) if block.file == name]
    return block.text


FRAMEWORKS = {"flask": (write_flask_shop, ["shop:app"]), "django": (write_django_shop, [])}


@contextmanager
def shop(framework: str, folder: Path, dsn: str, eventually: Callable[..., Any], **environ: str) -> Iterator[Server]:
    """Run the shop of a framework; the server's URL is that of Haulier in it."""
    write, application = FRAMEWORKS[framework]
    address = free_address()
    command = [sys.executable, *write(folder), address, *application]
    given = {"DATABASE_URL": dsn, "PYTHONPATH": f"{folder}:{ROOT}", **environ}
    with serving(command, f"http://{address}{MOUNT}", eventually, cwd=folder, **given) as server:
        yield server
