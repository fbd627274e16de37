"""`haulier.Client` behind a proxy that the environment names. It ..."""

from __future__ import annotations

from uuid import uuid4

import pytest

from haulier import Client, HaulierError
from haulier.client import api
from tests.kinds.kinds_tools import receiving

JOB = uuid4()


def test_sends_no_retry_again_that_a_proxy_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PAUSES", (0.0, 0.01, 0.02, 0.03, 0.04))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with receiving() as proxy, Client("http://jobs.example", "a-key") as made:
        monkeypatch.setenv("http_proxy", proxy.url)
        proxy.answer = lambda handler, _: None
        with pytest.raises(HaulierError, match="the connection to jobs.example broke: it was closed"):
            made.retry(JOB)
        with pytest.raises(HaulierError):
            made.get(JOB)
    with pytest.raises(HaulierError, match="jobs.example cannot be reached: "):
        made.retry(JOB)

    assert [each.method for each in proxy.requests] == ["POST", *["GET"] * 6]
