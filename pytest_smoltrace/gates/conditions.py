"""Reads operator and limit of a gate, and refuses those that make no sense."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_smoltrace.gates.amounts import as_fraction, example, in_unit, points, typed
from pytest_smoltrace.gates.expression import Limit
from pytest_smoltrace.gates.units import SHARES
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from pytest_smoltrace.gates.amounts import Typed
    from pytest_smoltrace.gates.expression import Metric, Operator
    from pytest_smoltrace.gates.scanner import Scanner, Token

BASELINE = "baseline"
_OPERATORS: tuple[Operator, ...] = (">=", ">", "<=", "<", "==")
_MEANT = {"=": "==", "=>": ">=", "=<": "<=", "\u2265": ">=", "\u2264": "<="}


def condition(scanner: Scanner, metric: Metric) -> tuple[Operator, Limit, str]:
    """Return operator, limit and the limit as it is written."""
    at = scanner.ahead
    operator = _operator(scanner, metric)
    limit, shown = _limit(scanner, metric)
    if limit.of_baseline:
        _check_baseline(scanner, metric, operator, at)
    else:
        _check_number(scanner, metric, operator, limit, at)
    return operator, limit, shown


def _operator(scanner: Scanner, metric: Metric) -> Operator:
    token = scanner.next()
    for operator in _OPERATORS:
        if token.text == operator:
            return operator
    usual = "<=" if metric.better == "lower" else ">="
    write = f"write {metric.shown} {usual} {example(metric)}"
    if token.kind == "end":
        raise scanner.error(f"operator and limit are missing; {write}", token)
    if token.text in _MEANT:
        first = f"{usual} or " if token.text == "=" else ""
        what = f"there is no operator {token.text!r}; write {first}{_MEANT[token.text]}"
        raise scanner.error(what, token)
    if token.kind == "operator":
        what = f"there is no operator {token.text!r}; write one of {', '.join(_OPERATORS)}"
        raise scanner.error(what, token)
    raise scanner.error(f"an operator is missing after {metric.shown}; {write}", token)


def _limit(scanner: Scanner, metric: Metric) -> tuple[Limit, str]:
    token = scanner.ahead
    if token.kind == "name" and token.text == BASELINE:
        scanner.next()
        return _change(scanner, metric)
    if token.kind == "number" or token.text == "$":
        return _number(scanner, metric)
    raise scanner.error(_no_limit(token, metric))


def _no_limit(token: Token, metric: Metric) -> str:
    """Say what is in the place of a limit."""
    fitting = f"write a number as {example(metric)}, or {BASELINE}"
    if token.kind == "end":
        return f"the limit is missing; {fitting}"
    if token.text == "-":
        return f"no {metric.shown} is below 0; {fitting}"
    if token.text == "(":
        return f"a limit has no brackets; write it as {BASELINE}*1.2"
    if token.kind == "operator":
        return f"there are two operators; write one of {', '.join(_OPERATORS)}"
    hint = did_you_mean(token.text, (BASELINE,))
    return f"{token.text!r} is no limit{hint or ';'} {fitting}"


def _number(scanner: Scanner, metric: Metric) -> tuple[Limit, str]:
    """Return the limit that begins with a number, which may be a factor of the baseline."""
    amount = typed(scanner)
    if scanner.accept("*"):
        if not scanner.accept(BASELINE):
            raise scanner.error(f"only {BASELINE} is multiplied; write it as {BASELINE}*1.2")
        return _times(scanner, amount)
    if scanner.ahead.text == BASELINE:
        raise scanner.error(f"a sign is missing; write {amount.shown}*{BASELINE}")
    if scanner.ahead.text in ("+", "-"):
        what = f"a limit of several numbers is not computed; write their sum, or {BASELINE} first"
        raise scanner.error(what)
    if metric.unit in SHARES:
        fraction = as_fraction(scanner, metric, amount)
        shown = f"{_percent(amount)}%"
        return Limit(number=float(fraction * SHARES[metric.unit])), shown
    number, shown = in_unit(scanner, metric, amount)
    return Limit(number=number), shown


def _percent(amount: Typed) -> str:
    """Return a share that was typed with or without % in percent."""
    number = amount.number if amount.unit == "%" else (amount.number * 100).normalize()
    return f"{number:f}"


def _change(scanner: Scanner, metric: Metric) -> tuple[Limit, str]:
    """Return the limit that begins with the baseline."""
    sign = scanner.accept("+", "-", "*", "/")
    if sign is None:
        if scanner.ahead.kind == "number":
            raise scanner.error(f"a sign is missing; write {BASELINE}*1.2 or {BASELINE}+10%")
        return Limit(), BASELINE
    if sign.text == "/":
        raise scanner.error(f"{BASELINE} is not divided; write {BASELINE}*0.5", sign)
    if scanner.ahead.kind != "number" and scanner.ahead.text != "$":
        what = f"a number is missing after {BASELINE}{sign.text}"
        raise scanner.error(f"{what}; write {BASELINE}*1.2 or {BASELINE}+10%")
    amount = typed(scanner, f"{BASELINE}{sign.text}")
    if sign.text == "*":
        return _times(scanner, amount)
    positive = sign.text == "+"
    if amount.unit == "%":
        return _relative(scanner, amount, positive=positive)
    if metric.unit in SHARES:
        offset, shown = points(scanner, metric, amount)
    else:
        offset, shown = in_unit(scanner, metric, amount)
    return Limit(offset=offset if positive else -offset), f"{BASELINE}{sign.text}{shown}"


def _times(scanner: Scanner, amount: Typed) -> tuple[Limit, str]:
    """Return a multiple of the baseline."""
    if amount.unit is not None:
        what = f"{BASELINE} is multiplied by a plain number, not by {amount.shown}{amount.unit}"
        raise scanner.error(f"{what}; write {BASELINE}*1.2 or {BASELINE}+20%", amount.token)
    if amount.number <= 0:
        what = f"nothing is below 0 times {BASELINE}; write {BASELINE}*1.2"
        raise scanner.error(what, amount.token)
    return Limit(factor=float(amount.number)), f"{BASELINE}*{amount.shown}"


def _relative(scanner: Scanner, amount: Typed, *, positive: bool) -> tuple[Limit, str]:
    """Return the baseline changed by a part of itself."""
    part = Fraction(amount.number) / 100
    factor = 1 + part if positive else 1 - part
    if factor <= 0:
        what = f"{BASELINE}-{amount.shown}% leaves nothing; write {BASELINE}-10%"
        raise scanner.error(what, amount.token)
    return Limit(factor=float(factor)), f"{BASELINE}{'+' if positive else '-'}{amount.shown}%"


def _check_baseline(scanner: Scanner, metric: Metric, operator: Operator, at: Token) -> None:
    """Refuse comparisons with a baseline that cannot be made."""
    if metric.table == "gate":
        what = f"{metric.shown} takes a fixed limit"
        raise scanner.error(f"{what}; write {metric.shown} >= 95%", at)
    usual = "<=" if metric.better == "lower" else ">="
    if operator == "==":
        what = f"two runs are hardly ever equal; write {metric.shown} {usual} {BASELINE}"
        raise scanner.error(what, at)
    if metric.better is not None and operator[0] != usual[0]:
        what = f"{metric.shown} is better when {metric.better}, this would fail what is better"
        raise scanner.error(f"{what}; write {usual}", at)


def _check_number(
    scanner: Scanner, metric: Metric, operator: Operator, limit: Limit, at: Token
) -> None:
    """Refuse conditions that hold always, or never."""
    number, whole = limit.number, SHARES.get(metric.unit)
    if number is None:
        return
    if whole is not None and number > whole:
        raise scanner.error("no share is above 100%; write 80%", at)
    if metric.unit in ("", "Cel"):
        return
    always = (operator == ">=" and number == 0) or (operator == "<=" and number == whole)
    never = (operator == "<" and number == 0) or (operator == ">" and number == whole)
    if always or never:
        what = f"{metric.shown} is {'always' if always else 'never'} {operator} {number:g}"
        raise scanner.error(f"{what}; write another limit, as {example(metric)}", at)
