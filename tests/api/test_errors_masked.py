"""Groups of errors of a kind with secret fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from haulier.domain.api_key import Scope
from haulier.domain.fingerprint import fingerprint, id_text
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.callers import MakeKey, make_key  # noqa: F401  # fixtures

# As a worker stored it that did not know yet that the field is secret, or that had it from a child that was taken over.
ERROR = "Denied: refused token tok-hunter2"
GROUP = fingerprint("secretive", ERROR)
PATHS = ("/errors", f"/errors/{id_text(GROUP.id)}")
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(secretive: FlaskClient, make_key: MakeKey, fail: Fail) -> Ask:  # noqa: F811
    """Give a function that asks for the group of a job that has failed with such an error."""
    fail(ERROR, kind="secretive", payload={"how": "raise", "token": "tok-hunter2"})

    def ask(path: str, scope: Scope = Scope.READ) -> dict[str, Any]:
        _, headers = make_key(scope)
        answer = secretive.get(path, headers=headers)
        assert answer.status_code == 200, answer.json
        [group] = answer.json if isinstance(answer.json, list) else [answer.json]
        return dict(group)

    return ask


@pytest.mark.parametrize("path", PATHS)
def test_are_masked_as_the_errors_of_their_jobs_are(ask: Ask, path: str) -> None:
    masked, whole = ask(path), ask(path, Scope.ADMIN)

    assert (masked["text"], masked["example"]) == ("Denied: refused token •••", "Denied: refused token •••")
    assert (whole["text"], whole["example"]) == (GROUP.text, ERROR)


@pytest.mark.parametrize("path", PATHS)
def test_show_little_where_the_job_is_gone_that_tells_the_secrets(ask: Ask, sql: Sql, path: str) -> None:
    sql("DELETE FROM haulier.finished_job")

    group = ask(path)

    assert (group["text"], group["example"]) == ("Denied: …", None)


def test_are_not_found_by_a_secret_that_their_example_quotes(
    secretive: FlaskClient,
    make_key: MakeKey,  # noqa: F811
    fail: Fail,
) -> None:
    fail("Denied: 47114711", kind="secretive", payload={"how": "raise", "token": "47114711"})

    found = [
        secretive.get("/errors?text=47114711", headers=make_key(each)[1]).json for each in (Scope.READ, Scope.ADMIN)
    ]

    assert [len(groups) for groups in found] == [0, 1]


def test_are_masked_each_by_its_own_job_however_many_are_read_at_once(
    secretive: FlaskClient,
    make_key: MakeKey,  # noqa: F811
    fail: Fail,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.http.masking.JOBS_AT_ONCE", 2)
    secrets = ["alpha", "beta", "gamma"]
    for secret in secrets:
        fail(f"Denied{secret.title()}: {secret}", kind="secretive", payload={"how": "raise", "token": secret})

    found = secretive.get("/errors", headers=make_key(Scope.READ)[1]).json

    assert sorted(each["example"] for each in found) == ["DeniedAlpha: •••", "DeniedBeta: •••", "DeniedGamma: •••"]
