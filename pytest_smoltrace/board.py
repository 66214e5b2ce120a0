"""One GPU with its energy and the windows that could use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pytest_smoltrace.energy import EnergyCurve
    from pytest_smoltrace.series import Floats, Ints, Series
    from pytest_smoltrace.sweep import Sweep


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """One GPU with its energy and the windows that could use it."""

    series: Series
    curve: EnergyCurve
    rows: Ints
    """Rows of those windows in the table of all windows."""
    sweep: Sweep | None
    """None when no window could use it."""

    @property
    def unattributed_wh(self) -> float:
        """Energy that no window gets."""
        whole = float(self.curve.wh[-1]) if len(self.curve.wh) else 0.0
        if self.sweep is None:
            return whole
        return self.sweep.unattributed(self.curve.energy_wh(self.sweep.edges), whole)

    def idle_wh(self) -> Floats:
        """Return the idle energy in each window's share of the time that is counted, or NaN."""
        curve, sweep = self.curve, self.sweep
        if sweep is None or not len(curve.mono_ns):
            return np.full(len(self.rows), np.nan)
        free = sweep.idle(int(curve.mono_ns[0]), int(curve.mono_ns[-1]))
        idle_w = curve.idle_w(*free)
        if idle_w is None:
            return np.full(len(self.rows), np.nan)
        edges = sweep.edges
        return idle_w * sweep.shares(curve.counted_s(edges[:1], edges)) / 3600
