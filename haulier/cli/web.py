"""`python -m haulier web`: the API, served by gunicorn with our settings, from a checkout or an installed wheel."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from typing import NoReturn

from haulier.cli.server import server_command


@server_command("web", example="PORT=8080 haulier web", extra="server")
def web() -> NoReturn:
    """Serve the API, by gunicorn.

    GUNICORN_CMD_ARGS adds options of gunicorn.
    """
    program = command()
    os.execv(program[0], program)


def command() -> list[str]:
    """Return the program that serves the API, and its arguments."""
    # Named and not imported: the library must not load Flask. A wheel has the application inside this package, if it
    # cannot clash with an `app` of the team's own; a checkout has it beside the package.
    application = "haulier.app" if find_spec("haulier.app") else "app"
    # Without --config gunicorn would read a gunicorn.conf.py in the working directory, which may be the team's.
    settings = f"python:{application}.gunicorn_settings"
    return [*_gunicorn(), "--config", settings, f"{application}:create_app()"]


def _gunicorn() -> list[str]:
    # At SIGUSR2 gunicorn runs the file again that it was started from. The file behind `-m` cannot be run like that:
    # the modules beside it would hide modules of the standard library.
    script = shutil.which("gunicorn", path=sysconfig.get_path("scripts"))
    return [sys.executable, *([script] if script else ["-m", "gunicorn"])]
