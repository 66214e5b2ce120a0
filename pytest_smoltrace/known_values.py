"""Find known values in a text at a cost that does not grow with their number."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Span = tuple[int, int]

_ANCHOR = 4
"""Characters of a value that are searched for; the rest is compared where they are found."""
_SECOND_ANCHOR_FROM = 24
_STRETCH = 12
"""As many characters of a value are taken for it: what shows it may cut or wrap it."""
_SHOWN = 128
"""Characters that pytest shows on either side of what it leaves out."""
_LEFT_OUT = re.compile(r"\.\.\.|…")
_RANKS = (
    "JQXZKVWYGH",
    "".join(sorted(set(string.ascii_uppercase) - set("JQXZKVWYGH"))) + "!#$%&*@^~;<>",
    string.digits + "jqxz",
    string.ascii_lowercase,
)


class KnownValues:
    """Values that are looked for, in every form in which they may be written."""

    def __init__(self, forms: Iterable[str]) -> None:
        self._at: dict[str, list[tuple[str, int]]] = {}
        for form in sorted(set(forms), key=len, reverse=True):
            for offset in _anchors(form):
                self._at.setdefault(form[offset : offset + _ANCHOR], []).append((form, offset))
        # An alternation of all values would try each of them at every character of a text.
        self._search = re.compile(_trie(sorted(self._at))).search if self._at else None

    def spans(self, text: str) -> Iterator[Span]:
        """Yield where the values stand; spans may overlap."""
        search = self._search
        if search is None:
            return
        hit = search(text)
        while hit is not None:
            start, forms = hit.start(), self._at[hit[0]]
            whole = [_whole(text, form, start - offset) for form, offset in forms]
            if any(whole):
                yield from filter(None, whole)
            else:
                parts = (_stretch(text, form, start, offset) for form, offset in forms)
                yield from filter(None, parts)
            hit = search(text, start + 1)


class Ends:
    """First and last characters of values: what shows a text may leave its middle out."""

    def __init__(self) -> None:
        self._first: dict[str, list[str]] = {}
        self._last: dict[str, list[str]] = {}

    def add(self, forms: Iterable[str]) -> None:
        """Look for the ends of these texts too."""
        for form in forms:
            self._first.setdefault(form[:_ANCHOR], []).append(form)
            self._last.setdefault(form[-_ANCHOR:], []).append(form)

    def spans(self, text: str) -> Iterator[Span]:
        """Yield where the end of a value stands beside what was left out."""
        if not self._first:
            return
        for mark in _LEFT_OUT.finditer(text):
            yield from self._before(text, mark.start())
            yield from self._after(text, mark.end())

    def _before(self, text: str, end: int) -> Iterator[Span]:
        for start in range(max(0, end - _SHOWN), end - _ANCHOR + 1):
            forms = self._first.get(text[start : start + _ANCHOR])
            part = text[start:end]
            if forms and _is_telling(part) and any(form.startswith(part) for form in forms):
                yield start, end
                return

    def _after(self, text: str, start: int) -> Iterator[Span]:
        for end in range(min(len(text), start + _SHOWN), start + _ANCHOR - 1, -1):
            forms = self._last.get(text[end - _ANCHOR : end])
            part = text[start:end]
            if forms and _is_telling(part) and any(form.endswith(part) for form in forms):
                yield start, end
                return


def _is_telling(part: str) -> bool:
    """Return whether a part of a value is not one of a word."""
    return len(part) >= _STRETCH or not part.isalpha() or not (part.islower() or part.istitle())


def _whole(text: str, form: str, start: int) -> Span | None:
    if start < 0 or not text.startswith(form, start):
        return None
    end = start + len(form)
    # Digits within a longer number are another number.
    if form.isdigit() and (text[start - 1 : start].isdigit() or text[end : end + 1].isdigit()):
        return None
    return start, end


def _stretch(text: str, form: str, place: int, offset: int) -> Span | None:
    """Return a long part of the form around `offset` that stands in the text at `place`."""
    if len(form) <= _STRETCH or form.isdigit():
        return None
    before, after = offset, offset
    left, right = place, place
    while before > 0 and left > 0 and text[left - 1] == form[before - 1]:
        left, before = left - 1, before - 1
    while after < len(form) and right < len(text) and text[right] == form[after]:
        right, after = right + 1, after + 1
    return (left, right) if right - left >= _STRETCH else None


def _anchors(form: str) -> Sequence[int]:
    """Return where a form is looked for: at the characters that ordinary text holds least."""
    last = len(form) - _ANCHOR
    if len(form) < _SECOND_ANCHOR_FROM:
        return [_rarest(form, 0, last)]
    return [_rarest(form, 0, last // 2), _rarest(form, last // 2 + 1, last)]


def _rarest(form: str, first: int, last: int) -> int:
    return min(range(first, last + 1), key=lambda place: [*map(_rank, form[place : place + 2])])


def _rank(letter: str) -> int:
    if not letter.isascii():
        return 0
    return next((rank for rank, letters in enumerate(_RANKS) if letter in letters), len(_RANKS))


def _trie(words: Sequence[str]) -> str:
    """Return a pattern of sorted words of one length in which common beginnings stand once."""
    if len(words) == 1 or not words[0]:
        return re.escape(words[0])
    branches: dict[str, list[str]] = {}
    for word in words:
        branches.setdefault(word[0], []).append(word[1:])
    found = [re.escape(letter) + _trie(rest) for letter, rest in branches.items()]
    return found[0] if len(found) == 1 else f"(?:{'|'.join(found)})"
