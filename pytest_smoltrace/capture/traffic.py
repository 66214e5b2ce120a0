"""The HTTP requests of one LLM call, and how long a server asks to be left alone."""

from __future__ import annotations

import email.utils
import math
import socket
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from pytest_smoltrace import taxonomy

_UNITS = (("retry-after-ms", 1000.0), ("retry-after", 1.0))


class Traffic:
    """What left for the network during one call."""

    def __init__(self) -> None:
        self.retried_above = False
        """True when the tap itself sends a call again that met a rate limit."""
        self.due: float | None = None
        """Moment on the monotonic clock at which the request is over its limit."""
        self._urls: Counter[str] = Counter()
        self._asked_s: float | None = None
        self._connection: Any = None

    @property
    def requests(self) -> int | None:
        """HTTP requests sent so far; None when none was seen."""
        return max(self._urls.values(), default=None)

    def request(self, url: str) -> None:
        """Note that an HTTP request leaves now."""
        # A client that also asks elsewhere has not tried again.
        self._urls[url] += 1
        self._asked_s = None

    def response(self, response: Any) -> None:
        """Note the head of the response."""
        self._asked_s = retry_after_s(response.headers)
        self._connection = getattr(response, "extensions", {}).get("network_stream")

    def asked_wait_s(self, error: BaseException) -> float | None:
        """Return how long the server asked to wait before the next request."""
        if self._asked_s is not None:
            return self._asked_s
        responses = (getattr(one, "response", None) for one in taxonomy.causes(error))
        asked = (retry_after_s(getattr(one, "headers", None)) for one in responses if one)
        return next((seconds for seconds in asked if seconds is not None), None)

    def hang_up(self) -> None:
        """Close the connection under a read that another thread is stuck in."""
        stream = self._connection
        connection = stream.get_extra_info("socket") if stream is not None else None
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def retry_after_s(headers: Any) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3); None when there is none.

    The header holds seconds or a date; `retry-after-ms` of OpenAI's servers is more precise.
    """
    for name, unit in _UNITS:
        value = headers.get(name) if hasattr(headers, "get") else None
        if value is not None:
            seconds = _number(str(value))
            seconds = seconds / unit if seconds is not None else _until(str(value))
            if seconds is not None:
                return max(seconds, 0.0)
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(text: str) -> float | None:
    moment = email.utils.parsedate_tz(text)
    return None if moment is None else email.utils.mktime_tz(moment) - time.time()
