"""Which variables hold credentials, which parts of them are secret, and how they are written."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

SECRET_NAME = re.compile(
    r"key$|token$|secret|passw|credential|auth(?!ors?$)|cookie|header|signature|^sig$|connection_?string",
    re.IGNORECASE,
)
"""Names of options, headers and parameters whose values are secrets."""

_SHORTEST = 8
"""Shorter values stand in ordinary text too."""
_SHORTEST_PLAIN = 12
"""The same for words and numbers."""
_SHORTEST_LINE = 16
_JSON_LEVELS = 5
"""JSON inside JSON: a body in the arguments of a tool call in a message in a span attribute."""

_PART_OF_NAME = frozenset(
    {
        *("key", "keys", "apikey", "apikeys", "token", "tokens", "pat", "pass", "passphrase"),
        *("pwd", "cred", "creds", "auth", "oauth", "dsn", "webhook"),
    }
)
_NO_SECRET = re.compile(
    r"(?:^|_)(?:type|mode|method|provider|strategy|host|port|user|username|name|email|domain|realm"
    r"|scopes?|audience|issuer|sock|file|path|dir|enabled|disabled|required|expir\w*|ttl|timeout"
    r"|length|limit|algorithm|version|backend|prefix|suffix|region|endpoint|server|authority|ids?|arn)$"
    r"|^(?:old)?pwd$",
    re.IGNORECASE,
)
"""Variables that say something about a credential."""
_WORDS = re.compile(r"(?:[A-Z]?[a-z]+|[A-Z]+)(?:[-_. ](?:[A-Z]?[a-z]+|[A-Z]+))*")
_NUMBER = re.compile(r"[\d.,:eE +-]+")
_PLACEHOLDER = re.compile(
    r"(?:no|not)[-_ ](?:api[-_ ])?(?:key[-_ ])?(?:needed|required|used|set)"
    r"|your[-_ ][a-z_ -]*(?:key|token)(?:[-_ ]here)?|placeholder",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?:~|\.{1,2}|[A-Za-z]:)?[/\\][\w .@+~/\\-]*\.\w{1,6}")
_SCHEME = re.compile(r"(?:bearer|basic|token|apikey)\s+", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)


def secrets_of(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield every value, and part of a value, that must not be shown."""
    for name, value in variables.items():
        for url in _URL.findall(value):
            yield from _of_url(url)
        if _is_credential(name):
            yield from _of_credential(name, value.strip().strip("\"'"))
        elif ";" in value:
            yield from _of_settings(value)


def text_leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield (name, text) of every text in nested mappings and lists."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from text_leaves(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from text_leaves(item, name)


def is_plain(value: str) -> bool:
    """Return whether ordinary text may hold the value: it is short, a word, a number, a stub."""
    return (
        len(value) < _SHORTEST
        or (
            len(value) < _SHORTEST_PLAIN
            and bool(_WORDS.fullmatch(value) or _NUMBER.fullmatch(value))
        )
        or _PLACEHOLDER.fullmatch(value) is not None
    )


def forms_of(value: str) -> set[str]:
    """Return the texts that stand for a value: raw, in JSON, as a Python literal, in a URL."""
    plain = {value, repr(value)[1:-1], ascii(value)[1:-1], html.escape(value)}
    forms = {*plain, quote(value), quote(value, safe=""), quote_plus(value)}
    forms.add(repr(value.encode("utf-8", "replace"))[2:-1])
    for form in plain:
        for ensure_ascii in (False, True):
            escaped = form
            for _ in range(_JSON_LEVELS):
                escaped = json.dumps(escaped, ensure_ascii=ensure_ascii)[1:-1]
                forms.add(escaped)
    return forms


def _is_credential(name: str) -> bool:
    if _NO_SECRET.search(name):
        return False
    parts = re.split(r"[^a-z]+", name.lower())
    return not _PART_OF_NAME.isdisjoint(parts) or SECRET_NAME.search(name) is not None


def _of_credential(name: str, value: str) -> Iterator[str]:
    """Yield the value of a credential and what it consists of."""
    if value.startswith("{"):
        yield from _of_json(value)
        return
    if re.search("header|cookie", name, re.IGNORECASE):
        yield from _of_settings(value, any_name=True)
    elif ";" in value:
        yield from _of_settings(value)
    bare = _SCHEME.sub("", value, count=1) if _SCHEME.match(value) else value
    for part in (value, bare, *_lines(value)):
        if not (is_plain(part) or _is_path(part) or _is_plain_url(part)):
            yield part


def _lines(value: str) -> Iterator[str]:
    """Yield the telling lines of a value of several: what shows it may indent each."""
    if "\n" in value:
        for line in map(str.strip, value.splitlines()):
            if len(line) >= _SHORTEST_LINE and not line.startswith("-----"):
                yield line


def _of_url(url: str) -> Iterator[str]:
    """Yield password, or user where it stands alone, and secret parameters."""
    try:
        parts = urlsplit(url)
        found = [parts.password or parts.username or ""]
    except ValueError:
        return
    found += [v for k, v in parse_qsl(parts.query) if SECRET_NAME.search(k)]
    for secret in found:
        yield from (one for one in {secret, unquote(secret)} if not is_plain(one))


def _of_settings(value: str, *, any_name: bool = False) -> Iterator[str]:
    """Yield secret values of `name=value` or `name: value`, separated by `;`, `,` or lines."""
    for setting in re.split(r"[;\n,]" if any_name else "[;\n]", value):
        name, _, part = setting.replace(": ", "=", 1).partition("=")
        part = _SCHEME.sub("", unquote(part.strip()), count=1)
        named = any_name or SECRET_NAME.search(name.strip().replace(" ", ""))
        if named and not (is_plain(part) or _is_path(part) or _is_plain_url(part)):
            yield part


def _of_json(value: str) -> Iterator[str]:
    """Yield the secret leaves of a credential that is a JSON object."""
    try:
        found = json.loads(value)
    except ValueError:
        yield value
        return
    for key, leaf in text_leaves(found):
        if _is_credential(key):
            yield from _of_credential(key, leaf.strip())


def _is_path(value: str) -> bool:
    exists = value.startswith("/") and os.path.lexists(value)
    return exists or _PATH.fullmatch(value) is not None


def _is_plain_url(value: str) -> bool:
    """Return whether a value is an address: what is secret in it is a value of its own."""
    return _URL.fullmatch(value) is not None and "?" not in value and "@" not in value
