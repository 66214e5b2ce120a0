"""Every reason why a case can fail: the error taxonomy of the field contract, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorType:
    """One value of the column `error_type`."""

    name: str
    category: str
    meaning: str


_AGENT = (
    ("wrong_answer", "a check of the answer does not hold"),
    ("wrong_tool", "the expected tool was not called often enough without error"),
    ("no_answer", "the agent gave no answer"),
    ("score_below_threshold", "a recorded score is below its threshold"),
    ("assertion", "an `assert`, `pytest.fail` or `pytest.raises` of the test failed"),
    ("max_steps", "the agent used up its steps"),
    ("parse_error", "the model's text could not be read as code or as a tool call"),
    ("code_error", "the generated code failed"),
    ("tool_not_found", "the model called a tool that does not exist"),
    ("tool_arguments", "the model called a tool with wrong arguments"),
    ("context_length", "the conversation is too long for the model"),
)
_TOOL = (
    ("tool_error", "a tool raised an exception"),
    ("tool_timeout", "a tool call took longer than `--smoltrace-tool-timeout`"),
)
_TIMEOUT = (("timeout", "the case took longer than its time limit"),)
_BUDGET = (
    ("budget_cost", "`max_cost` of the case or `--smoltrace-budget-usd` is spent"),
    ("budget_tokens", "`max_tokens` of the case or `--smoltrace-budget-tokens` is used up"),
    ("budget_steps", "`max_total_steps` of the case is used up"),
)
_INFRA = (
    ("llm_auth", "HTTP 401 or 403, or no key: check the key"),
    ("llm_rate_limit", "HTTP 429: fewer workers, `--smoltrace-max-concurrency`, or a larger quota"),
    ("llm_server_error", "HTTP 5xx: the model server failed or was overloaded"),
    ("llm_timeout", "HTTP 408 or 504, or no answer within the client's or the request's limit"),
    ("llm_connection", "refused or lost connection, DNS, TLS: check address and server"),
    ("llm_bad_request", "HTTP 400, 404, 409, 413 or 422: check model id and settings"),
    ("content_filter", "the provider's content filter withheld the answer"),
    ("llm_error", "a call of the model failed in another way"),
    ("mcp_unavailable", "an MCP server did not start or is gone"),
    ("gpu_oom", "the device ran out of memory"),
    ("missing_dependency", "an ImportError: install the package"),
)
_JUDGE = (("judge_error", "the judge failed, or its reply could not be read"),)
_HARNESS = (
    ("setup_error", "a fixture failed before the test"),
    ("teardown_error", "a fixture failed after the test"),
    ("test_error", "the test's own code raised an exception"),
    ("worker_crash", "the process that ran the case died"),
    ("interrupted", "the session was stopped during the case"),
    ("replay_miss", "a recording lacks the request"),
    ("config_error", "an option or argument cannot be used"),
)
_CATEGORIES = {
    "agent": _AGENT,
    "tool": _TOOL,
    "timeout": _TIMEOUT,
    "budget": _BUDGET,
    "infra": _INFRA,
    "judge": _JUDGE,
    "harness": _HARNESS,
}

TYPES = tuple(
    ErrorType(name, category, meaning)
    for category, rows in _CATEGORIES.items()
    for name, meaning in rows
)

CATEGORY = {one.name: one.category for one in TYPES}
"""error_type -> error_category."""

VERDICTS = frozenset(
    {"wrong_answer", "wrong_tool", "no_answer", "score_below_threshold", "assertion"}
)
"""Error types that are verdicts on an answer, left out of `total_errors`."""

UNSCORED = ("infra", "judge", "harness")
"""Categories that say nothing about the agent: such a case is in no rate."""


def markdown() -> str:
    """Return the table of the README."""
    lines = ["| `error_type` | category | scored | what happened |", "|---|---|---|---|"]
    for one in TYPES:
        scored = "no" if one.category in UNSCORED else "yes"
        lines.append(f"| `{one.name}` | {one.category} | {scored} | {one.meaning} |")
    return "\n".join(lines) + "\n"
