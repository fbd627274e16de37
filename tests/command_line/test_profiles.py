"""Which service is called with which key: `haulier login`, `logout`, `profiles`, `keys`, config.toml. It ..."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from haulier.cli.client import profiles
from haulier.cli.client.profiles import Profile
from haulier.cli.client.service import choose
from haulier.cli.parts.completing import complete
from haulier.cli.parts.invocation import Invocation
from haulier.cli.root import root
from haulier.domain.api_key import TOKEN
from tests.command_line.conftest import Ended, Run, lossy
from tests.web import Server

KEY = "hlr_k3xq0v9a2b7c_" + "s" * 43
OTHER = "https://other.example.com"
FILE = """\
# mine
default = "prod"

[profiles.prod]
url = "https://jobs.example.com"
key_command = "echo from-command; echo more"
confirm = true

[profiles.local]  # on this machine
url = "http://127.0.0.1:8080/"
key = "from-file"
"""


@pytest.fixture
def config(home: Path) -> Path:
    path = home / ".config" / "haulier" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def write(path: Path, text: str = FILE, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_goes_by_flags_then_the_environment_then_a_profile(config: Path, home: Path) -> None:
    prod, local = "https://jobs.example.com", "http://127.0.0.1:8080"
    cases: list[tuple[dict[str, str], dict[str, str], tuple[str, str | None]]] = [
        ({}, {}, (prod, "from-command")),
        ({}, {"HAULIER_PROFILE": "local"}, (local, "from-file")),
        ({}, {"HAULIER_API_KEY": "from-environ"}, (prod, "from-environ")),
        ({}, {"HAULIER_URL": OTHER}, (OTHER, None)),
        ({}, {"HAULIER_URL": OTHER, "HAULIER_PROFILE": "prod"}, (OTHER, None)),
        ({}, {"HAULIER_URL": local}, (local, "from-file")),
        ({"url": f"{prod}/"}, {"HAULIER_URL": OTHER}, (prod, "from-command")),
        ({"url": "https://new.example.com"}, {}, ("https://new.example.com", None)),
        ({"profile": "local"}, {"HAULIER_API_KEY": "from-environ", "HAULIER_URL": OTHER}, (local, "from-file")),
    ]

    def chosen(flags: dict[str, str], environ: dict[str, str]) -> tuple[str, str | None]:
        service = choose({"HOME": str(home), **environ}, **{"url": None, "profile": None, **flags})
        return service.url, service.read_key()

    assert chosen({}, {}) == (local, None)
    write(config)
    assert [(flags, environ, chosen(flags, environ)) for flags, environ, _ in cases] == cases


def test_refuses_a_file_that_others_may_read_or_with_unknown_content(run: Run, config: Path) -> None:
    expected = {
        (FILE, 0o640): "other users may read or write",
        (FILE, 0o602): "other users may read or write",
        ("key = [", 0o600): "is not TOML in UTF-8",
        ("profiles = 1", 0o600): "profiles a table",
        ("[profiles.a]\nkey = 'k'", 0o600): "needs a url",
        ("[profiles.a]\nurl = 'u'\ncolour = 1", 0o600): "has an unknown field colour; known are url, key,"
        " key_command, confirm",
        ("[profiles.a]\nurl = 'u'\nkey = 1", 0o600): "key must be a str",
        ("[profiles.a]\nurl = 'u'\nkey = 'k'\nkey_command = 'c'", 0o600): "has both a key and a key_command",
        ("default = 'b'\n[profiles.a]\nurl = 'https://a.example'", 0o600): "there is no profile b in",
    }

    for (text, mode), said in expected.items():
        write(config, text, mode)
        refused = run("jobs", "list", HAULIER_URL=None)

        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert said in refused.err
        assert "from-file" not in refused.err


def test_says_that_the_command_of_a_key_has_failed_and_shows_nothing_of_it(
    run: Run, config: Path, server: Server
) -> None:
    for command in ("echo a-secret; exit 3", "echo 'a secret'"):
        write(config, f"[profiles.a]\nurl = '{server.url}'\nkey_command = \"{command}\"")

        failed = run("jobs", "list", "--profile", "a")

        assert failed.code == 4
        assert failed.err.startswith("haulier: the key_command of the profile a")
        assert "secret" not in failed.err


def test_keeps_a_working_key_in_a_file_that_others_cannot_read(run: Run, home: Path, server: Server) -> None:
    made = run("login", "--url", server.url, "--profile", "here", input=f"{KEY}\n")

    path = home / ".config" / "haulier" / "config.toml"
    assert (made.code, made.out) == (0, "")
    assert made.err == f"haulier: saved the profile here in {path}; it is the default\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert tomllib.loads(path.read_text()) == {
        "default": "here", "profiles": {"here": {"url": server.url, "key": KEY}}
    }  # fmt: skip
    assert os.listdir(path.parent) == ["config.toml"]
    assert run("jobs", "list", HAULIER_URL=None).code == 0


def test_keeps_no_key_that_is_refused(run: Run, server: Server) -> None:
    with lossy(server.url, refused=1) as url:
        refused, empty, kept = (run("login", "--url", url, input=key) for key in (f"{KEY}\n", "\n", "k" * 40))

    assert (refused.code, empty.code, kept.code) == (4, 2, 0)
    assert KEY not in refused.err
    assert run("profiles", "--json").json == {
        "name": "127-0-0-1", "url": url, "key": "file", "confirm": False, "default": True,
    }  # fmt: skip


def test_changes_one_profile_and_leaves_all_else_as_it_was(run: Run, config: Path, server: Server) -> None:
    write(config)

    run("login", "--url", server.url, "--profile", "prod", input="new-key")
    run("login", "--url", server.url, "--profile", "more", "--default", input='q"\\')
    changed = config.read_text()
    run("logout", "--profile", "prod")
    run("logout")

    assert (
        changed
        == FILE.replace('default = "prod"\n', "")
        .replace("# mine", 'default = "more"\n# mine')
        .replace(
            'url = "https://jobs.example.com"\nkey_command = "echo from-command; echo more"\nconfirm = true\n\n',
            f'url = "{server.url}"\nkey = "new-key"\nconfirm = true\n',
        )
        + f'[profiles.more]\nurl = "{server.url}"\nkey = "q\\u0022\\u005c"\n'
    )
    assert (
        config.read_text()
        == '# mine\n\n[profiles.local]  # on this machine\nurl = "http://127.0.0.1:8080/"\nkey = "from-file"\n'
    )


def test_never_leaves_a_file_that_says_something_else(home: Path, config: Path) -> None:
    for text in (
        'profiles = {a = {url = "https://a.example"}}\n',
        '[profiles]\na.url = "https://a.example"\n',
        '[profiles.b]\nurl = """https://b.example"""\n[ profiles . "a" ]\nurl = "https://a.example"\n',
    ):
        write(config, text)
        known = profiles.read(config)

        new = Profile("a", "https://new.example", key="k")
        with suppress(profiles.CommandError):
            profiles.write(known, new, is_default=True)

        written = profiles.read(config)
        assert written.by_name in (known.by_name, {**known.by_name, "a": new})
        assert config.read_text() == text or written.by_name["a"] == new


def test_lists_profiles_and_no_key(run: Run, config: Path) -> None:
    write(config)

    listed = run("profiles")

    assert listed.rows == [
        ["prod", "https://jobs.example.com", "command", "yes", "yes"],
        ["local", "http://127.0.0.1:8080/", "file", "–", "–"],
    ]
    assert "from-file" not in listed.out + run("profiles", "--json").out


def test_runs_no_command_for_a_tab(run: Run, config: Path, server: Server, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    write(config, f"default = 'a'\n[profiles.a]\nurl = '{server.url}'\nkey_command = 'touch {ran}; echo key'")
    context = click.Context(root, obj=Invocation())

    assert choose({"HOME": str(config.parents[2])}, url=None, profile=None).runs_command
    with CliRunner(env={"HOME": str(config.parents[2]), "HAULIER_URL": None}).isolation():
        assert complete("kinds", context, "") == []
    assert not ran.exists()


def test_keeps_a_link_to_the_file(run: Run, config: Path, server: Server, tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles"
    elsewhere.mkdir()
    config.symlink_to(elsewhere / "haulier.toml")

    run("login", "--url", server.url, "--profile", "here", input=KEY)

    assert config.is_symlink()
    assert KEY in (elsewhere / "haulier.toml").read_text()


def test_takes_a_url_or_a_profile_and_not_both(run: Run, config: Path) -> None:
    write(config)

    both, unknown = (
        run("--url", "http://x.example", "jobs", "list", "--profile", "prod"),
        run("logout", "--profile", "x"),
    )

    assert (both.code, unknown.code) == (2, 2)
    assert both.err == "haulier: give either --url or --profile: a profile has its own URL\n"
    assert unknown.err.startswith("haulier: there is no profile x in ")


ADMIN = "k" * 40


@pytest.fixture
def keys(run: Run, run_gunicorn, database: str) -> Iterator[Run]:
    """Give a function that runs a command of `haulier keys` against a service that has keys."""
    # Not against the shared one, which would ask everybody for a key from then on.
    with run_gunicorn(database, HAULIER_API_KEY=ADMIN) as closed:

        def keys(*args: str, key: str = ADMIN) -> Ended:
            return run("keys", *args, HAULIER_URL=closed.url, HAULIER_API_KEY=key)

        yield keys


def test_makes_lists_rotates_and_revokes_keys(keys: Run, run: Run) -> None:
    made = keys(
        "create", "--name", "shop\u202e", "--scopes", "read,enqueue", "--queues", "mail", "--rate", "50", "--days", "90"
    )
    token = made.out.strip()
    key_id = TOKEN.fullmatch(token)[1]
    rotated = keys("rotate", key_id, "--hours", "1.5")
    listed = keys("list")
    revoked, again = keys("revoke", key_id), keys("revoke", key_id)

    assert made.err == f"created the API key {key_id}, which is shown only this once:\n"
    assert rotated.err == (
        f"the API key {key_id} has a new secret, which is shown only this once; the old one stays valid for 1.5 h:\n"
    )
    assert TOKEN.fullmatch(rotated.out.strip())[1] == key_id
    [row] = listed.rows
    assert row[:5] == [key_id, "shop\\u202e", "enqueue,read", "mail", "50/s"]
    assert re.search(r"  until \S+Z, its old secret until \S+Z$", listed.out.splitlines()[1])
    assert (revoked.code, revoked.out) == (0, f"revoked the API key {key_id} (shop\\u202e)\n")
    assert again.code == 3
    assert not [each for each in (token, rotated.out.strip()) if each.split("_", 2)[2] in listed.out + revoked.out]
    assert re.search(r"  revoked \S+Z$", keys("list").out.splitlines()[1])
    assert keys("list", "--json").json["id"] == key_id
    reader = keys("create", "--name", "shop", "--scopes", "read").out.strip()
    for key in (reader, "x" * 40):
        refused = keys("list", key=key)
        assert (refused.code, key in refused.err) == (4, False)


def test_uses_the_database_if_database_url_is_set(run: Run, database: str, server: Server) -> None:
    assert run("keys", "list", DATABASE_URL=database, HAULIER_URL="http://127.0.0.1:9").out.startswith("id ")
    assert run("keys", "list", "--url", server.url, DATABASE_URL="postgresql://u@127.0.0.1:1/x").code == 0
    assert run("keys", "list", "--json", DATABASE_URL=database).code == 2
