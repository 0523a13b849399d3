"""Signatures of webhooks, held against another implementation and against `openssl dgst`."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from analytics_service.alerts.signing import SECRET_RULE, keys_of, signed_headers

KEY = st.binary(min_size=24, max_size=64)


def secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def test_the_signature_is_what_openssl_says() -> None:
    # printf 'msg_1.1674087231.{"a":1}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102..1f -binary | base64
    headers = signed_headers((bytes(range(32)),), "msg_1", 1674087231, b'{"a":1}')
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1674087231",
        "webhook-signature": "v1,fnNKWKn9YJSx7T/Ahsk/W5BQTp6PJzQosUoaMQK6sCQ=",
    }


@given(key=KEY, body=st.text().map(lambda text: text.encode("utf-8", "replace")))
def test_another_implementation_accepts_it_and_nothing_else(key: bytes, body: bytes) -> None:
    headers = signed_headers(keys_of(secret(key)), "alert-1-2", int(time.time()), body)
    Webhook(secret(key)).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(key)).verify(body + b"!", headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(key)).verify(body, headers | {"webhook-id": "alert-1-3"}, json_parse=False)


@given(old=KEY, new=KEY)
def test_while_a_secret_is_replaced_both_verify(old: bytes, new: bytes) -> None:
    headers = signed_headers(keys_of(f"{secret(new)} {secret(old)}"), "alert-1-2", int(time.time()), b"{}")
    for key in (old, new):
        Webhook(secret(key)).verify(b"{}", headers)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "password",
        "whsec_",
        "whsec_!" + "A" * 40,
        secret(bytes(23)),
        secret(bytes(65)),
        secret(bytes(24)).removeprefix("whsec_"),
        f"{secret(bytes(24))} password",
        " ".join([secret(bytes(24))] * 3),
    ],
)
def test_what_is_no_secret_is_refused_without_being_told(bad: str) -> None:
    with pytest.raises(ValueError, match="whsec_ followed by") as caught:
        keys_of(bad)
    assert str(caught.value) == SECRET_RULE
