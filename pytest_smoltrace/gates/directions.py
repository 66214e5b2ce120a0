"""What is known of a figure beside its unit: which way it is better, and what it depends on."""

from __future__ import annotations

from typing import Literal

SHARES = frozenset({"pass_at_1", "pass_at_k", "pass_hat_k", "gpu_coverage"})
"""Columns of unit 1 that are shares from 0 to 1; the others are plain numbers."""

_HIGHER = frozenset(
    {
        *("success_rate", "success_rate_ci_low", "success_rate_ci_high"),
        *("pass_at_1", "pass_at_k", "pass_hat_k", "passed_prompts", "successful_tests"),
        *("gpu_coverage", "steps_known_tests", "duration_known_tests", "tokens_known_tests"),
        "cost_known_tests",
    }
)
_LOWER = frozenset(
    {
        *("failed_tests", "errored_tests", "interrupted_tests", "timed_out_tests"),
        *("max_steps_tests", "total_errors", "error_rate", "tokens_unknown_attempts"),
        *("cost_unknown_attempts", "failed_tool_calls", "rejected_tool_calls", "llm_retries"),
        *("llm_error_count", "gpu_missed_ticks", "gpu_memory_max_mib", "gpu_memory_avg_mib"),
    }
)
_SPENT = frozenset({"ms", "s", "USD", "{token}", "{step}", "W.h", "g{CO2e}"})
"""Units of which less is better."""
_GIVEN = frozenset(
    {
        *("gen_ai.request.max_tokens", "common_max_tokens", "task_timeout_s"),
        *("request_timeout_s", "tool_timeout_s"),
        *("cache_read_input_tokens", "total_cache_read_tokens"),
    }
)
"""Settings, and what is cheaper than its rest: less of them is not better."""
_TIMES = frozenset({"ms", "s", "W.h", "W", "g{CO2e}", "Cel"})
_NOT_OF_HARDWARE = frozenset(
    {"gpu_count", "gpu_memory_total_mib", "gpu_sample_count", "gpu_missed_ticks", "gpu_coverage"}
)
_RECORDED = "recorded_cost_usd"
"""Cost that a replayed run has on purpose."""


def better(name: str, unit: str) -> Literal["higher", "lower"] | None:
    """Return which direction of a column is an improvement."""
    if name in _HIGHER:
        return "higher"
    return "lower" if name in _LOWER or (unit in _SPENT and name not in _GIVEN) else None


def is_timing(name: str, unit: str) -> bool:
    """Return whether a column depends on the hardware: time, energy, and what GPUs do."""
    if name in _GIVEN or name in _NOT_OF_HARDWARE:
        return False
    # The GPU's utilization and memory have units that others have too.
    return unit in _TIMES or name.startswith(("gpu_", "electricity_cost", "power_cost"))


def is_live_only(name: str, unit: str) -> bool:
    """Return whether a column says nothing of a replayed run: time, cost and energy."""
    return is_timing(name, unit) or (unit == "USD" and name != _RECORDED)


def is_maximum(name: str) -> bool:
    """Return whether a column is a maximum, of which a run has the maximum, not the mean."""
    return name.startswith("gpu_") and "_max" in name
