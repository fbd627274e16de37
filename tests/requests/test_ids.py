"""The id of a job or a worker in a request: it ..."""

from __future__ import annotations

from uuid import UUID

import pytest

from haulier.requests.ids import read_uuid

ID = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"


@pytest.mark.parametrize("text", [ID, ID.upper()])
def test_is_read_as_it_is_written(text: str) -> None:
    assert read_uuid(text) == UUID(ID)


# UUID() takes each of these but the first two and the last.
@pytest.mark.parametrize(
    "text",
    ["", ID[:-1], ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", ID.replace("7c5e", "७c5e"), f"{ID}\n"],
    ids=["none", "short", "no_dashes", "braces", "urn", "digits_of_another_script", "line_end"],
)
def test_is_not_read_in_another_form(text: str) -> None:
    assert read_uuid(text) is None
