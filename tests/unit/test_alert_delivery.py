"""What is configured of a webhook, and what an answer asks for."""

import time
from email.utils import formatdate

import pytest

from analytics_service.alerts.delivery import retry_after_s
from analytics_service.alerts.webhook import endpoint_of

SECRET = "whsec_" + "AbCd" * 8


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example.org",
        "ftp://hooks.example.org/",
        "https://",
        "https:///path",
        "https://h:port/",
        "https://h:99999/",
        "https://h/a b",
        "https://h/\n",
        "https://h/ü",
        "https://hü/",
        "https://h/#part",
        "https://[::1/",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(ValueError, match="WEBHOOK_URL") as caught:
        endpoint_of(url, SECRET, 1)
    rule = "must be an http:// or https:// URL with a host, in ASCII, without a fragment"
    assert str(caught.value) == f"WEBHOOK_URL: {rule}"


def test_a_missing_secret_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="WEBHOOK_SECRET: must be whsec_"):
        endpoint_of("https://h/", "", 1)


def test_the_name_of_a_webhook_depends_on_where_it_is_and_on_no_secret() -> None:
    same = ["https://h/x", "https://h:443/x", "https://me:pw@h/x", "https://h/x?key=pw", "https://H/x"]
    others = ["http://h/x", "https://h:8443/x", "https://h/y", "https://i/x", "https://h/"]
    names = [endpoint_of(url, SECRET, 1).name for url in same]
    assert len(set(names)) == 1
    assert len({*names, *(endpoint_of(url, SECRET, 1).name for url in others)}) == 6


@pytest.mark.parametrize("url", ["http://[::1]:8080/x", "http://10.0.0.1/", "https://hooks.example.org"])
def test_a_url_that_can_be_used_is_not_shown(url: str) -> None:
    endpoint = endpoint_of(url, SECRET, 1)
    assert endpoint.url == url
    assert url not in repr(endpoint)
    assert repr(endpoint.keys) not in repr(endpoint)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("120", 120), (" 7 ", 7), ("-5", 0), ("soon", 0), ("1.5", 0), ("9" * 400, float("inf")), ("٣", 0)],
)
def test_the_seconds_to_wait_are_read(text: str, seconds: float) -> None:
    assert retry_after_s({"Retry-After": text}) == seconds
    assert retry_after_s({}) == 0


def test_the_date_to_wait_for_is_read() -> None:
    assert 3_500 < retry_after_s({"Retry-After": formatdate(time.time() + 3_600, usegmt=True)}) <= 3_600
    assert retry_after_s({"Retry-After": formatdate(0, usegmt=True)}) == 0
    assert retry_after_s({"Retry-After": "Wed, 21 Oct 2015 07:28:00 -0000"}) == 0
