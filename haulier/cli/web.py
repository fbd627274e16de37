"""`python -m haulier web`: the API, by gunicorn with our settings, in a checkout and where Haulier is installed."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from typing import NoReturn


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `python -m haulier`."""
    parser = commands.add_parser("web", help="serve the API, by gunicorn; GUNICORN_CMD_ARGS adds options of its own")
    parser.set_defaults(start=_serve)


def _serve(args: argparse.Namespace) -> NoReturn:
    program = command()
    os.execv(program[0], program)


def command() -> list[str]:
    """Return the program that serves the API, and its arguments."""
    # Named here, and not in imports: the library must not load Flask. A wheel has the application inside of this
    # package, where nothing of the team's own is called so; a checkout has it beside.
    application = "haulier.app" if find_spec("haulier.app") else "app"
    # Its own file of settings: a gunicorn.conf.py in the working directory is the team's.
    settings = f"python:{application}.gunicorn_settings"
    return [*_gunicorn(), "--config", settings, f"{application}:create_app()"]


def _gunicorn() -> list[str]:
    # At SIGUSR2 gunicorn starts its program anew, by the file: that of `-m` cannot be run so, since modules beside it
    # hide the standard library's.
    script = shutil.which("gunicorn", path=sysconfig.get_path("scripts"))
    return [sys.executable, *([script] if script else ["-m", "gunicorn"])]
