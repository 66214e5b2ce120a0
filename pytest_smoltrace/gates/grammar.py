"""Reads gate expressions.

gate      := [level] (metric operator limit | no_regressions) ["for" selectors] ["if" n]
level     := "warn:" | "fail:"
metric    := name | aggregate "(" name ")"
operator  := ">=" | ">" | "<=" | "<" | "=="
limit     := number [unit] | "baseline" [change] | number "*" "baseline"
change    := ("+" | "-") number unit | "*" number
selectors := key "=" value {"," key "=" value}
n         := "n" ">=" number
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.gates.conditions import condition
from pytest_smoltrace.gates.expression import Gate, Limit, Metric
from pytest_smoltrace.gates.metrics import NO_REGRESSIONS, find, names
from pytest_smoltrace.gates.scanner import Scanner, Token
from pytest_smoltrace.gates.selectors import cases_needed, selectors, selectors_shown

if TYPE_CHECKING:
    from pytest_smoltrace.gates.expression import Level, Operator

_NAMED = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*=(?!=)(.*)", re.DOTALL)
_EXAMPLE = "success_rate >= 80%"
_LONGEST_ADVICE = 40
_LEVELS = ("warn", "fail")
_NO_METRICS = (*_LEVELS, "baseline", "for", "if")


def split_name(text: str) -> tuple[str | None, str]:
    """Return name and expression of [NAME=]EXPR."""
    found = _NAMED.fullmatch(text)
    return (found[1], found[2].strip()) if found else (None, text.strip())


def parse(text: str, *, name: str | None = None, level: Level | None = None) -> Gate:
    """Return the gate that an expression stands for.

    Args:
        text: The expression, without a name.
        name: Name of the gate; by default its metric, with its selectors.
        level: Level that is given apart from the expression.

    Raises:
        ConfigError: It is none; one line says what is wrong, where and what to do.
    """
    scanner = Scanner(text)
    found = _level(scanner, level)
    metric = _metric(scanner, name)
    operator: Operator = ">="
    limit, shown = Limit(), metric.shown
    if metric.column != NO_REGRESSIONS:
        operator, limit, condition_shown = condition(scanner, metric)
        shown = f"{shown} {operator} {condition_shown}"
    elif scanner.ahead.kind == "operator":
        raise scanner.error(f"{NO_REGRESSIONS} stands alone; write {NO_REGRESSIONS}")
    where = selectors(scanner, metric)
    min_n = cases_needed(scanner)
    _nothing_more(scanner)
    chosen = selectors_shown(where)
    return Gate(
        name=name or (f"{metric.shown}[{chosen}]" if chosen else metric.shown),
        text=shown + (f" for {chosen}" if chosen else "") + (f" if n >= {min_n}" * (min_n > 1)),
        metric=metric,
        operator=operator,
        limit=limit,
        level=found,
        where=where,
        min_n=min_n,
    )


def _level(scanner: Scanner, given: Level | None) -> Level:
    token = scanner.ahead
    after = scanner.text[token.start + len(token.text) :].lstrip()
    if token.kind != "name" or not after.startswith(":"):
        return given or "fail"
    scanner.next()
    scanner.next()
    if token.text not in _LEVELS:
        write = f"write warn: or fail:, or {token.text}=EXPR to name a gate"
        raise scanner.error(f"{token.text!r} is no level; {write}", token)
    level: Level = "warn" if token.text == "warn" else "fail"
    if given not in (None, level):
        what = f"the level is {level} here and {given} beside the expression"
        raise scanner.error(f"{what}; give it once", token)
    return level


def _metric(scanner: Scanner, name: str | None) -> Metric:
    token = scanner.next()
    if token.kind != "name" or token.text in _NO_METRICS:
        raise scanner.error(_no_metric(token, name, scanner.text.strip()), token)
    inner = _inner(scanner, token) if scanner.ahead.text == "(" else None
    try:
        return find(token.text) if inner is None else find(inner.text, token.text)
    except ConfigError as error:
        raise scanner.error(str(error), token) from None


def _inner(scanner: Scanner, aggregate: Token) -> Token:
    """Return the name in the brackets of an aggregate."""
    scanner.next()
    inner = scanner.next()
    if inner.kind != "name":
        what = f"{aggregate.text}() is about no metric; write it as p95(latency)"
        raise scanner.error(what, inner)
    if not scanner.accept(")"):
        what = f"the bracket of {aggregate.text}( is not closed"
        raise scanner.error(f"{what}; write {aggregate.text}({inner.text})")
    return inner


def _no_metric(token: Token, name: str | None, text: str) -> str:
    """Say that an expression does not begin with a metric."""
    if name in set(names()):
        return f"NAME=EXPR names a gate, so {name!r} is its name here; {_meant(str(name), text)}"
    if token.kind == "end":
        return f"the gate is empty; write a metric, an operator and a limit, as in {_EXAMPLE}"
    if token.text in _LEVELS:
        return f"a level is given once, with a colon; write {token.text}: {_EXAMPLE}"
    return f"a gate begins with a metric, then operator and limit; write it as {_EXAMPLE}"


def _meant(name: str, text: str) -> str:
    """Return what to write where one `=` was taken for the end of a name."""
    operator = "<=" if find(name).better == "lower" else ">="
    limit = text.lstrip("<>=! ")
    shown = limit if limit.isprintable() and 0 < len(limit) <= _LONGEST_ADVICE else "and a limit"
    return f"write {name} {operator} {shown}"


_JOINED = ("and", "or", "&&", "||", ",", "AND", "OR")
_SELECTING = ("where", "with", "when", "in", "FOR", "on")


def _nothing_more(scanner: Scanner) -> None:
    """Refuse what follows a whole gate."""
    token = scanner.ahead
    if token.kind == "end":
        return
    if token.text == "n":
        what = "the number of cases follows an if; write if n >= 20"
    elif token.text in _JOINED:
        what = "a gate is one condition; write a gate for each"
    elif token.kind == "operator" and token.text != "**":
        what = "a gate compares once; write a gate for each comparison"
    elif token.text == "for":
        what = "selectors come before the number of cases; write for ... if n >= 20"
    elif token.text in _SELECTING:
        what = f"{token.text!r} selects nothing; write for difficulty=hard"
    elif token.text in ("+", "-", "*", "/", "**"):
        what = "a limit is one number, or baseline with one change; write it as baseline*1.2"
    else:
        what = "nothing can follow a gate but 'for KEY=VALUE' and 'if n >= COUNT'"
        what = f"{what}; leave it out, or quote a value that has blanks in it"
    raise scanner.error(what)
