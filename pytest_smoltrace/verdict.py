"""What a case declared is enforced: a green case is never an unanswered one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_smoltrace import checks
from pytest_smoltrace.errors import CheckFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_smoltrace.facts import AgentRun, Declared, LLMCall, ToolCall

_FILTERED = frozenset({"content_filter", "content_filtered", "guardrail_intervened", "safety"})
"""Finish reasons of an answer that the provider withheld."""


def keyword_verdict(declared: Declared, answer: str | None) -> bool | None:
    """Return whether the declared keywords stand in the answer; None when none are declared."""
    if not declared.expected_keywords:
        return None
    return answer is not None and checks.keywords(answer, declared.expected_keywords).passed


def problems(
    declared: Declared,
    runs: Sequence[AgentRun],
    tools: Sequence[ToolCall],
    calls: Sequence[LLMCall] = (),
    *,
    hide_content: bool = False,
) -> Iterator[CheckFailed]:
    """Yield what the case promised and did not keep, the deciding one first.

    Args:
        declared: The case's declaration.
        runs: Runs of top-level agents, the last one last.
        tools: Counted tool calls.
        calls: Counted LLM calls; needed where the agent gave no answer of its own.
        hide_content: Leave what the agent said out of the messages.
    """
    last = runs[-1] if runs else None
    expects = bool(declared.expected_tool or declared.expected_keywords)
    if last is not None and is_unanswered(last, declared):
        yield from _silence(last, calls, hide_content=hide_content)
    if last is not None and last.stop_reason == "max_steps" and not declared.allow_max_steps:
        message = f"the agent stopped after {last.steps} steps without an answer of its own"
        yield _met(last, message, "max_steps", hide_content=hide_content)
    if (last is None and expects) or (last is not None and not (last.answer or "").strip()):
        yield CheckFailed("the agent gave no answer", "no_answer")
    yield from _tool_problem(declared, tools)
    answer = last.answer if last is not None else None
    if answer and declared.expected_keywords:
        check = checks.keywords(answer, declared.expected_keywords)
        if not check.passed:
            shown = "" if hide_content else f" {checks.shown(answer)}"
            yield CheckFailed(f"{check.reason} in the answer{shown}", "wrong_answer")


def is_unanswered(run: AgentRun, declared: Declared) -> bool:
    """Return whether a run ended without an answer that the case accepts."""
    capped = run.stop_reason == "max_steps" and not declared.allow_max_steps
    return capped or not (run.answer or "").strip()


def _silence(
    run: AgentRun, calls: Sequence[LLMCall], *, hide_content: bool
) -> Iterator[CheckFailed]:
    """Yield what kept the agent from answering, where that was not the agent itself."""
    own = [call for call in calls if call.role == "agent"]
    # Out of steps, smolagents asks once more for an answer: the step's call is the one before.
    decisive = own[-2:-1] if run.stop_reason == "max_steps" else own[-1:]
    if any((call.finish_reason or "").lower() in _FILTERED for call in decisive):
        yield CheckFailed("the provider's content filter withheld the answer", "content_filter")
    elif run.stop_reason == "error" and run.last_error_type is not None:
        message = "the agent's last run ended with an error and gave no answer"
        yield _met(run, message, "no_answer", hide_content=hide_content)


def _met(run: AgentRun, message: str, otherwise: str, *, hide_content: bool) -> CheckFailed:
    """Return the failure of a run by its last error; `otherwise` is its type without one."""
    if run.last_error and not hide_content:
        message += f"; its last error: {run.last_error}"
    return CheckFailed(
        message,
        run.last_error_type or otherwise,
        exception_type=run.last_exception_type,
        http_status=run.last_http_status,
    )


def _tool_problem(declared: Declared, tools: Sequence[ToolCall]) -> Iterator[CheckFailed]:
    if declared.expected_tool is None:
        return
    wanted = declared.expected_tool_calls or 1
    any_tool = declared.expected_tool == "multiple"
    matching = [t for t in tools if any_tool or t.name == declared.expected_tool]
    good = sum(1 for tool in matching if not tool.failed)
    if good < wanted:
        what = "tools" if any_tool else f"tool {declared.expected_tool!r}"
        called = ", ".join(tool.name for tool in tools) or "none"
        yield CheckFailed(
            f"expected {wanted} successful call{'s' * (wanted != 1)} of {what}, "
            f"got {good} (called: {called})",
            "wrong_tool",
        )
