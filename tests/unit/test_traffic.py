"""Retry-After in its three spellings, and requests that count."""

import email.utils
import time

import pytest

from pytest_smoltrace.capture.traffic import Traffic, retry_after_s


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_seconds(headers, seconds):
    assert retry_after_s(headers) == seconds


@pytest.mark.parametrize("ahead_s", [30, 3600])
def test_a_date(ahead_s):
    date = email.utils.formatdate(time.time() + ahead_s, usegmt=True)
    assert retry_after_s({"retry-after": date}) == pytest.approx(ahead_s, abs=2)


def test_a_date_in_the_past_is_no_wait():
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


def test_requests_to_another_address_are_no_retries():
    traffic = Traffic()
    assert traffic.requests is None
    for url in ("http://a/v1", "http://a/v1", "http://login"):
        traffic.request(url)
    assert traffic.requests == 2


class Response:
    headers = {"retry-after": "4"}  # noqa: RUF012


class RefusedError(Exception):
    response = Response()


def test_the_exception_says_it_where_no_response_was_seen():
    outer = RuntimeError("outer")
    outer.__cause__ = RefusedError()
    assert Traffic().asked_wait_s(outer) == 4
