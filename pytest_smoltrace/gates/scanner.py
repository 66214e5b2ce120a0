"""Parts a gate expression into tokens, and says where in it something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pytest_smoltrace.errors import ConfigError

Kind = Literal["name", "number", "operator", "sign", "end"]
_OPERATORS = (
    *(">=", "<=", "==", "=>", "=<", "!=", "<>", "&&", "||", "**"),
    *("\u2265", "\u2264", "\u2260", ">", "<", "=", "!"),
)
_SIGNS = "()*+-/,:$%"
_SHOWN = 60
_SHOWN_REST = 24
_LONGEST_NAME = 60
_LONGEST_NUMBER = 24
_LARGEST_EXPONENT = 18


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a number or a sign of an expression."""

    kind: Kind
    text: str
    start: int


class Scanner:
    """Reads an expression from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        """Begin at the start of the expression."""
        self.text = text
        self._end = 0
        self._ahead: Token | None = None

    @property
    def ahead(self) -> Token:
        """The next token."""
        if self._ahead is None:
            self._ahead, self._end = self._scan(self._skipped(self._end))
        return self._ahead

    def next(self) -> Token:
        """Return the next token and go on."""
        token = self.ahead
        self._ahead = None
        return token

    def accept(self, *texts: str) -> Token | None:
        """Return the next token and go on if it is one of these, else None."""
        return self.next() if self.ahead.text in texts else None

    def rest(self) -> str:
        """Return what is not read."""
        return self.text[self.ahead.start :].strip()

    def error(self, what: str, token: Token | None = None) -> ConfigError:
        """Return the error that says what is wrong, in which expression and where.

        Args:
            what: What is wrong; after a semicolon, what to do.
            token: Where; the next one by default.
        """
        rest = self.text[(self.ahead if token is None else token).start :].strip()
        where = f"at {cut(rest, _SHOWN_REST)}" if rest else "at its end"
        return ConfigError(f"gate {cut(self.text.strip(), _SHOWN)}, {where}: {what}")

    def value(self) -> tuple[Token, str]:
        """Return where a value begins, and the value: quoted, or up to a comma or a blank."""
        if self._ahead is not None:
            self._end, self._ahead = self._ahead.start, None
        start = self._skipped(self._end)
        if self.text[start : start + 1] in ("'", '"'):
            return Token("name", "", start), self._quoted(start)
        end = start
        while end < len(self.text) and not (self.text[end].isspace() or self.text[end] in ",'\""):
            end += 1
        self._end = end
        return Token("name", "", start), self.text[start:end]

    def _quoted(self, start: int) -> str:
        """Return a quoted text, in which a doubled quote stands for itself."""
        quote, text, at = self.text[start], "", start + 1
        while True:
            end = self.text.find(quote, at)
            if end < 0:
                raise self.error(
                    f"the quoted text has no end; close it with {quote}", Token("name", "", start)
                )
            text += self.text[at:end]
            self._end = end + 1
            if self.text[end + 1 : end + 2] != quote:
                return text
            text, at = text + quote, end + 2

    def _skipped(self, at: int) -> int:
        while at < len(self.text) and self.text[at].isspace():
            at += 1
        return at

    def _scan(self, start: int) -> tuple[Token, int]:
        """Return the token that begins here, and its end."""
        text = self.text
        if start >= len(text):
            return Token("end", "", start), start
        for operator in _OPERATORS:
            if text.startswith(operator, start):
                return Token("operator", operator, start), start + len(operator)
        if text[start] in _SIGNS:
            return Token("sign", text[start], start), start + 1
        end = self._number_end(start)
        if end > start:
            return Token("number", text[start:end], start), end
        if text[start].isalpha() or text[start] in "_\u00b0":
            end = start + 1
            while end < len(text) and (text[end].isalnum() or text[end] in "_.@^\u00b0"):
                end += 1
            if end - start > _LONGEST_NAME:
                what = "the word is out of all proportion; write a metric"
                raise self.error(what, Token("name", "", start))
            return Token("name", text[start:end], start), end
        what = f"{text[start]!r} means nothing here; write a metric, an operator and a limit"
        raise self.error(f"{what}, as in success_rate >= 80%", Token("name", "", start))

    def _number_end(self, start: int) -> int:
        """Return the end of the number that begins here; `start` when none does."""
        end = self._digits_end(start)
        if self.text[end : end + 1] == ".":
            fraction = self._digits_end(end + 1)
            end = fraction if fraction > end + 1 else end
        if end > start and self.text[end : end + 1] in ("e", "E"):
            signed = end + 1 + (self.text[end + 1 : end + 2] in ("+", "-"))
            exponent = self._digits_end(signed)
            end = exponent if exponent > signed else end
        return end

    def _digits_end(self, at: int) -> int:
        start = at
        while at < len(self.text) and (
            self.text[at] in "0123456789" or (at > start and self.text[at] == "_")
        ):
            at += 1
        return at


def plain(scanner: Scanner, token: Token) -> Decimal:
    """Return the number of a token exactly, as short as it can be written.

    Raises:
        ConfigError: It is out of all proportion.
    """
    try:
        digits, _, exponent = token.text.replace("_", "").lower().partition("e")
        if len(digits) <= _LONGEST_NUMBER and abs(int(exponent or 0)) <= _LARGEST_EXPONENT:
            number = Decimal(digits).scaleb(int(exponent or 0)).normalize()
            if len(f"{number:f}") <= _LONGEST_NUMBER:
                return number
    except ValueError:
        raise scanner.error(f"{token.text!r} is no number; write it as 1000", token) from None
    raise scanner.error("the number is out of all proportion; write a shorter one", token)


def cut(text: str, length: int) -> str:
    """Return a text quoted, on one line, no longer than that beside its quotes."""
    if len(text) <= length and len(repr(text)) <= length + 2:
        return repr(text)
    kept = text[: length - 3]
    while len(repr(kept)) > length - 1:
        kept = kept[:-1]
    return repr(f"{kept}...")
