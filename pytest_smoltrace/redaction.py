"""Take secrets out of what is shown and stored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from pytest_smoltrace import secret_pattern
from pytest_smoltrace.known_values import Ends, KnownValues
from pytest_smoltrace.secret_values import SECRET_NAME, forms_of, secrets_of, text_leaves

HIDDEN = "***"
HIDDEN_CONTENT = "__REDACTED__"
"""Stands for a prompt or an answer that the user keeps out of the records."""

Span = tuple[int, int]

_REMEMBERED = 1000
_IS_TOKEN = re.compile(r"[\w.~+/=:-]{16,}")

_WHOLE = re.compile(r"""(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+""")
"""The content of a JSON string, ended by what would end the string."""
_ESCAPE = re.compile(r"u[0-9a-fA-F]{4}|.")
_BACKSLASHES = re.compile(r"\\+\Z")
_NUMBER = re.compile(r"[-+.\deE]+")
_KEY = re.compile(r"[A-Za-z_.]+")


class Redactor:
    """Takes the secrets of one process out of texts."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: frozenset[str] = frozenset()
        self._seen: dict[Any, Any] = {}
        self._known = KnownValues(())
        self._ends = Ends()
        self._remembered: set[str] = set()
        self._add(values)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], given: Mapping[str, Any] = MappingProxyType({})
    ) -> Redactor:
        """Return a redactor of the credentials among environment variables and given values."""
        redactor = cls(secrets_of(dict(text_leaves(given))))
        redactor.learn(environ)
        return redactor

    def learn(self, variables: Mapping[str, str]) -> None:
        """Take out the credentials among these variables too, from now on."""
        # os.environ decodes each value that is asked for; few of them change.
        stored = getattr(variables, "_data", variables)
        changed = [name for name, value in stored.items() if self._seen.get(name) != value]
        if changed:
            self._seen |= {name: stored[name] for name in changed}
            self._add(secrets_of({os.fsdecode(n): os.fsdecode(stored[n]) for n in changed}))

    def text(self, text: str) -> str:
        """Return a text without secrets; the text itself where it has none."""
        text = _without(text, self._known.spans(text))
        text = _without(text, self._looking_so(text))
        return _without(text, self._ends.spans(text))

    def json(self, text: str) -> str:
        """Return JSON, or lines of it, without secrets: its strings change, its shape does not."""
        text = _without(text, (_in_string(text, span) for span in self._known.spans(text)))
        text = _without(text, (_in_string(text, span) for span in self._looking_so(text)))
        return _without(text, (_in_string(text, span) for span in self._ends.spans(text)))

    def value(self, value: Any, name: str = "") -> Any:
        """Return a value without secrets: named so, looking so, or known."""
        return _redacted(value, name, self)

    def _looking_so(self, text: str) -> Iterator[Span]:
        """Yield what looks like a secret, and remember it: it may come again, cut."""
        for start, end in secret_pattern.spans(text):
            yield start, end
            found = text[start:end]
            if len(self._remembered) < _REMEMBERED and _IS_TOKEN.fullmatch(found):
                self._ends.add({found} - self._remembered)
                self._remembered.add(found)

    def _add(self, values: Iterable[str]) -> None:
        known = self._values.union(values)
        if known != self._values:
            new = [form for value in known - self._values for form in forms_of(value)]
            self._values = known
            self._ends.add(new)
            self._known = KnownValues(form for value in known for form in forms_of(value))


def redacted(value: Any, name: str = "") -> Any:
    """Return the value without secrets: named so, looking so, or inside a URL."""
    return _redacted(value, name, Redactor())


def redacted_url(url: str) -> str:
    """Return the URL without user, password and secret query parameters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    _, at, host = parts.netloc.rpartition("@")
    netloc = f"{HIDDEN}@{host}" if at else host
    return parts._replace(netloc=netloc, query=_redacted_query(parts)).geturl()


def _redacted_query(parts: SplitResult) -> str:
    """Return the query with the values of secret parameters replaced."""
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if not any(SECRET_NAME.search(key) for key, _ in pairs):
        return parts.query
    hidden = [(key, HIDDEN if SECRET_NAME.search(key) else value) for key, value in pairs]
    return urlencode(hidden, safe="*")


def _redacted(value: Any, name: str, redactor: Redactor) -> Any:
    if value is not None and not isinstance(value, bool) and SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): _redacted(item, str(key), redactor) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, "", redactor) for item in value]
    return redactor.text(value) if isinstance(value, str) else value


def _without(text: str, spans: Iterable[Span]) -> str:
    """Return a text in which the spans, which may overlap, are replaced; itself if it stays."""
    pieces: list[str] = []
    done = 0
    for start, end in _merged(spans):
        pieces += (text[done:start], HIDDEN)
        done = end
    clean = "".join((*pieces, text[done:]))
    return text if clean == text else clean


def _merged(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield spans in order, those that overlap as one, empty ones not at all."""
    left: Span | None = None
    for start, end in sorted(spans):
        if start >= end:
            continue
        if left is not None and start < left[1]:
            left = left[0], max(left[1], end)
            continue
        if left is not None:
            yield left
        left = start, end
    if left is not None:
        yield left


def _in_string(json: str, span: Span) -> Span:
    """Return the part of a span that can be replaced and leave the JSON what it is."""
    start, end = span
    slashes = _BACKSLASHES.search(json, max(0, start - 64), start)
    if slashes is not None and len(slashes[0]) % 2:
        escape = _ESCAPE.match(json, start)  # the span begins within an escape
        start = escape.end() if escape else end
    whole = _WHOLE.match(json, start, max(start, end))
    end = whole.end() if whole else start
    before, after = json[start - 1 : start], json[end : end + 2]
    outside = before in (":", ",", "[") and after[:1] in (",", "]", "}")
    is_number = outside and _NUMBER.fullmatch(json, start, end)
    is_key = before == '"' and after == '":' and _KEY.fullmatch(json, start, end)
    return (start, start) if is_number or is_key else (start, end)
