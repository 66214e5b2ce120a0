"""What samples of a GPU are believed for, live and afterwards."""

from __future__ import annotations

from typing import Final

GAP_PERIODS: Final = 2.5
"""Valid samples further apart than so many periods have a gap between them."""
BRIDGED_NS: Final = 2_500_000_000
"""Longest stretch over which the integral of power is believed without samples within it."""
FLAT_NS: Final = 2_000_000_000
"""A counter that stands still for longer, while power flows, is stuck."""
