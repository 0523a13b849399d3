import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from wattstream import errors

MOST_HEADER_BYTES = 8 * 1024


def header_bytes(status: object) -> int:
    """Return what a status takes of the HTTP/2 headers: details in base64, message percent-encoded."""
    details = 4 * (len(status.SerializeToString()) + 2) // 3  # type: ignore[attr-defined]
    message = sum(1 if 0x20 <= byte < 0x7F else 3 for byte in status.message.encode())  # type: ignore[attr-defined]
    return details + message


@given(st.lists(st.tuples(st.text(max_size=400), st.text(max_size=400)), min_size=1, max_size=40))
def test_a_refusal_of_any_size_fits_into_the_headers_that_clients_take(pairs: list[tuple[str, str]]) -> None:
    error = errors.InvalidRequestError(*(errors.FieldViolation(*pair) for pair in pairs))
    status = errors.to_status(error, "r" * 64)
    assert status is not None
    assert header_bytes(status) < MOST_HEADER_BYTES


@given(st.text(max_size=3000))
def test_an_error_about_any_name_fits_too_and_short_words_arrive_unchanged(text: str) -> None:
    for error in (errors.NotFoundError("vehicle", text, text), errors.AwayError(text)):
        status = errors.to_status(error, "r" * 64)
        assert status is not None
        assert header_bytes(status) < MOST_HEADER_BYTES
        if len(text.encode()) <= 200:
            assert status.message == text


def test_the_largest_refusal_of_wide_characters_fits() -> None:
    violation = errors.FieldViolation("\N{SNOWMAN}" * 1000, "\N{SNOWMAN}" * 1000)
    status = errors.to_status(errors.InvalidRequestError(*[violation] * 1000), "r" * 64)
    assert status is not None
    assert header_bytes(status) < MOST_HEADER_BYTES


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), AssertionError(), errors.DomainError("x")])
def test_what_is_not_in_the_table_is_a_bug(error: Exception) -> None:
    assert errors.to_status(error, "r") is None


def test_overload_and_absence_always_say_when_to_come_again() -> None:
    for row in errors.TABLE:
        if row.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
            kinds = [type(detail) for detail in row.details(Exception())]
            assert kinds == [error_details_pb2.RetryInfo], row.reason


def test_reasons_are_upper_case_names_and_unique() -> None:
    reasons = [row.reason for row in errors.TABLE]
    assert len(set(reasons)) == len(reasons)
    assert all(reason.isupper() and reason.replace("_", "").isalpha() for reason in reasons)


def test_only_our_own_errors_speak_in_their_own_words() -> None:
    for row in errors.TABLE:
        kinds = row.raised if isinstance(row.raised, tuple) else (row.raised,)
        if row.message is None:
            assert all(issubclass(kind, errors.DomainError) for kind in kinds), row.reason
