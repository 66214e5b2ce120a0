"""Reads the text of an option as the value that it stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.config import Shard
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """Reads a number and checks its range."""

    kind: type[int | float]
    low: float | None = None
    high: float | None = None
    low_excluded: bool = False

    def __call__(self, text: str) -> int | float:
        """Return the number that the text stands for."""
        try:
            number = self.kind(text)
        except ValueError:
            raise ConfigError(f"{text!r} is not {self}") from None
        # A comparison with NaN is never true, so this refuses it too.
        if not float("-inf") < number < float("inf") or not self._holds(number):
            raise ConfigError(f"{text!r} is not {self}")
        return number

    def _holds(self, number: float) -> bool:
        """Tell whether the number lies in the range."""
        above = (
            self.low is None or number > self.low or (number == self.low and not self.low_excluded)
        )
        return above and (self.high is None or number <= self.high)

    def __str__(self) -> str:
        noun = "a whole number" if self.kind is int else "a number"
        low = "" if self.low is None else f"{'above' if self.low_excluded else 'from'} {self.low:g}"
        high = "" if self.high is None else f"to {self.high:g}"
        return " ".join(filter(None, (noun, low, high)))


def one_of(*known: str) -> Callable[[str], str]:
    """Return a reader of one of the known words."""

    def read(text: str) -> str:
        if text not in known:
            raise ConfigError(
                f"{text!r} is not one of {', '.join(known)}{did_you_mean(text, known)}"
            )
        return text

    return read


def switch(text: str) -> bool:
    """Return the truth value of an environment variable or an ini key."""
    return one_of("1", "true", "yes", "on", "0", "false", "no", "off")(text.lower()) in _TRUE


_TRUE = frozenset({"1", "true", "yes", "on"})
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def points(text: str) -> float:
    """Return a number of percentage points above 0 as a fraction: 5pp is 0.05."""
    number, unit = text.removesuffix("pp").rstrip(), text.endswith("pp")
    try:
        found = float(number)
    except ValueError:
        found = float("nan")
    if not unit or not 0 < found <= _ALL:
        raise ConfigError(f"{text!r} is no number of percentage points above 0; write it as 5pp")
    return found / _ALL


_ALL = 100


MISMATCHES = ("suite", "model", "agent_type", "settings", "replay", "hardware")
"""What a baseline and a run may differ in, by the names of --smoltrace-allow-mismatch."""

mismatch = one_of(*MISMATCHES)


def run_id(text: str) -> str:
    """Return a run id, which is also the name of a folder on any system."""
    if not _RUN_ID.fullmatch(text) or text.endswith(".") or _RESERVED.fullmatch(text):
        raise ConfigError(
            f"{text!r} is not a safe folder name; use up to 100 letters, digits, '-', '_' and '.',"
            " the first a letter or a digit"
        )
    return text


def shard(text: str) -> Shard:
    """Return part I of N from I/N."""
    index, slash, count = text.partition("/")
    if not slash or not (
        index.isascii() and index.isdigit() and count.isascii() and count.isdigit()
    ):
        raise ConfigError(f"{text!r} is not I/N; write 1/4 for the first of four parts")
    found = Shard(index=int(index), count=int(count))
    if not 1 <= found.index <= found.count:
        raise ConfigError(f"{text!r} is no part: I/N has parts 1 to {found.count}")
    return found


def base_url(text: str) -> str:
    """Return an http or https URL with a host."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or any(letter.isspace() for letter in text):
        # The text itself may hold a password.
        raise ConfigError("is not a URL; write http://HOST:PORT/v1 or https://HOST/v1")
    return text


def model_arg(text: str) -> tuple[str, Any]:
    """Return key and value of KEY=VALUE; the value is JSON where it can be read as such."""
    import json

    key, equals, value = text.partition("=")
    if not equals or not key.strip().isidentifier():
        raise ConfigError(f"{key!r} is not KEY=VALUE with a Python name as KEY")
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        return key.strip(), value
