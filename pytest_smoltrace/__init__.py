"""Evaluate smolagents agents with pytest."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_smoltrace.judge import JudgeError, LLMJudge, Verdict

__all__ = ["JudgeError", "LLMJudge", "Verdict", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # pytest imports this package in every session: what only evals use is imported by them.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("pytest_smoltrace.judge"), name)
