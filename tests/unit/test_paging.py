"""Page tokens lead back to where they were made, and nowhere else."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattstream import paging
from wattstream.errors import InvalidRequestError

IDS = st.from_regex(r"[A-Za-z0-9._:/-]{1,64}", fullmatch=True)


@settings(deadline=None)
@given(IDS, st.integers(-(2**62), 2**62))
def test_a_token_leads_back_to_its_item_and_to_no_other_list(name: str, number: int) -> None:
    token = paging.to_token("assignments", name, number)
    assert token.replace("-", "").replace("_", "").isalnum()  # safe in a URL
    assert paging.from_token("assignments", token, "", 0) == [name, number]
    for of, *first in (("devices", "", 0), ("assignments", 0, ""), ("assignments", ""), ("assignments", "", 0, 0)):
        with pytest.raises(InvalidRequestError):
            paging.from_token(of, token, *first)


def forged(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        "!",
        "ä",
        "a" * 1_000_000,
        forged("{}"),
        forged("[]"),
        forged("7"),
        forged("[" * 250),
        forged(json.dumps(["devices", 1, "\x00"])),
        forged('["devices", 1, "\\ud800"]'),
        forged(json.dumps(["devices", 2**63, "a"])),
        forged(json.dumps(["devices", 1e3, "a"])),
        forged(json.dumps(["devices", True, "a"])),
        forged(json.dumps(["devices", None, "a"])),
        forged(json.dumps(["devices", 1])),
    ],
)
def test_a_token_that_somebody_made_up_is_a_bad_field(token: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        paging.from_token("devices", token, 0, "")
    assert caught.value.violations[0].field == "page_token"


def test_no_token_is_the_first_page() -> None:
    assert paging.from_token("devices", "", 0, "") == [0, ""]


@pytest.mark.parametrize(("asked", "given_"), [(0, 100), (1, 1), (500, 500)])
def test_a_page_is_as_long_as_asked(asked: int, given_: int) -> None:
    assert paging.page_size(asked, 100, 500) == given_


@pytest.mark.parametrize("asked", [-1, 501, 2**31 - 1, -(2**31)])
def test_a_page_of_another_length_is_a_bad_field(asked: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        paging.page_size(asked, 100, 500)
    assert caught.value.violations[0].field == "page_size"
