"""A gate as it was written: metric, limit and the cases that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["fail", "warn"]
Table = Literal["results", "leaderboard", "rate", "gate"]
Operator = Literal[">=", ">", "<=", "<", "=="]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of a run that a gate can be about."""

    shown: str
    """As it is typed: `p95(latency)`."""
    table: Table
    """results: a column, aggregated over attempts; leaderboard: a figure of whole runs; rate: a
    share of passes, recomputed over any cases; gate: a figure of the gates themselves."""
    column: str
    """Name in the schema; of the tables rate and gate, the name of the figure."""
    aggregate: str | None = None
    """mean, median, min, max, sum or pNN; None where the table is not results."""
    unit: str = ""
    """UCUM unit of the column, in which limits are held."""
    better: Literal["higher", "lower"] | None = None
    """Which direction is an improvement; None where neither is."""
    timing: bool = False
    """Whether the figure is of time or energy: it depends on the hardware."""
    live_only: bool = False
    """Whether a replayed run says nothing of it: time, cost and energy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a metric is compared with: a number, or `baseline * factor + offset`."""

    number: float | None = None
    """In the unit of the column; None for one that a baseline gives."""
    factor: float = 1.0
    offset: float = 0.0
    """In the unit of the column."""

    @property
    def of_baseline(self) -> bool:
        """Whether the limit needs a baseline."""
        return self.number is None

    def value(self, baseline: float | None) -> float | None:
        """Return the limit in the unit of the column, None without the baseline that it needs."""
        if self.number is not None:
            return self.number
        return None if baseline is None else baseline * self.factor + self.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate, parsed."""

    name: str
    text: str
    """The expression in its normal form, without level: `success_rate >= 80%`."""
    metric: Metric
    operator: Operator
    limit: Limit
    level: Level = "fail"
    where: tuple[tuple[str, str], ...] = ()
    """Selectors that all have to hold: (key, value), as in `for difficulty=hard`."""
    min_n: int = 1
    """Smallest number of cases that the gate may be judged by."""

    @property
    def is_no_regressions(self) -> bool:
        """Whether this is the paired comparison of success rates with the baseline."""
        return self.metric.column == "no_regressions"
