"""How a session is judged: its gates, parsed, with those that stand for themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.gates.grammar import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_smoltrace.config import GateSpec, Judging
    from pytest_smoltrace.gates.expression import Gate, Level

VALID = "valid >= 95%"
"""Gate on attempts that infrastructure, judges or the harness kept from being scored."""
COVERAGE = "coverage >= 100%"
"""Gate on cases of the baseline that are gone."""
NO_REGRESSIONS = "no_regressions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that a judgement depends on beside the figures."""

    gates: tuple[Gate, ...]
    baseline: str | None
    missing_blocks: bool
    """Whether a gate fails the session because its baseline is missing."""
    inconclusive_blocks: bool
    margin: float
    """Drop of the success rate that is tolerated, as a fraction."""
    power: float
    alpha: float
    allow_mismatch: frozenset[str]
    gate_only: bool


def policy_of(judging: Judging, *, in_ci: bool) -> Policy:
    """Return the policy that the options ask for.

    Raises:
        ConfigError: An expression is wrong, two gates have one name, or a gate needs a baseline
            and none is given.
    """
    gates = tuple(_gates(judging))
    if judging.baseline is None:
        for gate in gates:
            if gate.limit.of_baseline:
                raise ConfigError(
                    f"gate {gate.name!r} needs a baseline; give one with --smoltrace-baseline, "
                    "as in --smoltrace-baseline=last-green"
                )
    missing = judging.baseline_missing or ("fail" if in_ci else "warn")
    return Policy(
        gates=gates,
        baseline=judging.baseline,
        missing_blocks=missing == "fail",
        inconclusive_blocks=judging.inconclusive == "fail",
        margin=judging.margin,
        power=judging.power,
        alpha=judging.alpha,
        allow_mismatch=frozenset(judging.allow_mismatch),
        gate_only=judging.gate_only,
    )


def _gates(judging: Judging) -> Iterator[Gate]:
    """Yield the user's gates, then those that stand for themselves."""
    given = [_parsed(spec) for spec in judging.gates]
    _refuse_twins(given)
    yield from given
    about = {gate.metric.column for gate in given}
    if judging.baseline is not None and NO_REGRESSIONS not in about:
        yield parse(NO_REGRESSIONS)
    if "valid" not in about:
        yield parse(VALID, name="valid")
    if judging.baseline is not None and "coverage" not in about:
        yield parse(COVERAGE, name="coverage")


def _parsed(spec: GateSpec) -> Gate:
    level: Level | None = None
    if spec.level is not None:
        level = "warn" if spec.level == "warn" else "fail"
    try:
        gate = parse(spec.text, name=spec.name, level=level)
    except ConfigError as error:
        raise ConfigError(f"{spec.place}: {error}") from None
    return gate if spec.min_n is None else replace(gate, min_n=spec.min_n)


def _refuse_twins(gates: Iterable[Gate]) -> None:
    seen = set()
    for gate in gates:
        if gate.name in seen:
            raise ConfigError(f"two gates are called {gate.name!r}; name them as NAME=EXPR")
        seen.add(gate.name)
