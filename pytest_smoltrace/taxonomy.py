"""Why a case failed: from an exception to a value of the error taxonomy.

Classes are matched by name, so that nothing has to be imported to know them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_smoltrace import signs
from pytest_smoltrace.causes import (
    causes,
    class_names,
    http_status,
    is_catch_all,
    one_line,
    places,
    qualified,
)
from pytest_smoltrace.error_types import CATEGORY, VERDICTS
from pytest_smoltrace.errors import CheckFailed, ConfigError
from pytest_smoltrace.facts import ErrorFact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CATEGORY",
    "VERDICTS",
    "causes",
    "classify",
    "error_type",
    "http_status",
    "named_error_type",
    "one_line",
    "qualified",
    "step_error",
]

_CLIENT_ERROR, _SERVER_ERROR = 400, 500


def classify(
    error: BaseException, when: str, *, from_model: bool = False, from_judge: bool = False
) -> ErrorFact:
    """Return why a phase failed.

    Args:
        error: The exception that escaped the phase.
        when: setup, call or teardown.
        from_model: True when a model call is known to have raised one of the causes.
        from_judge: True when one of the causes left a scope that judges the answer.
    """
    kind = error_type(error, when, from_model=from_model)
    if from_judge and kind not in signs.BEFORE_JUDGE:
        kind = "judge_error"
    return _fact(error, kind)


def step_error(error: BaseException, *, from_model: bool = False) -> ErrorFact:
    """Return what the error that ended one agent step makes of a run that never answered."""
    chain = list(causes(error))
    if _is_model_call(chain, from_model=from_model):
        return _fact(error, error_type(error, from_model=True))
    return _fact(error, _by_step(chain) or "max_steps")


def error_type(error: BaseException, when: str = "call", *, from_model: bool = False) -> str:
    """Return the taxonomy value of an exception."""
    chain = list(causes(error))
    model_call = _is_model_call(chain, from_model=from_model)
    # What a tool or generated code met is not the model's: its status says nothing of it.
    return (
        _by_decision(error)
        or (None if model_call else _by_step(chain))
        or _by_environment(chain[-1:] if model_call else chain)
        or _by_status(error, chain)
        or _by_configuration(chain)
        or _by_class(chain, model_call=model_call)
        or _by_phase(error, when)
    )


def named_error_type(name: str | None) -> str:
    """Return the taxonomy value of a failed LLM span's `error.type`: ours, a class or a status."""
    if name is None or name in CATEGORY:
        return name or "llm_error"
    if name.isdecimal():
        return _status_type(int(name)) or "llm_error"
    kind = name.rpartition(".")[2]
    return signs.CLASSES.get(kind) or signs.TRANSPORT.get(kind) or "llm_error"


def _fact(error: BaseException, kind: str) -> ErrorFact:
    return ErrorFact(
        type=kind,
        category=CATEGORY[kind],
        message=one_line(error) or type(error).__name__,
        exception_type=qualified(list(causes(error))[-1]),
        http_status=http_status(error),
    )


def _has(chain: Iterable[BaseException], *names: str) -> bool:
    return any(name in names for cause in chain for name in class_names(cause))


def _is_model_call(chain: Sequence[BaseException], *, from_model: bool) -> bool:
    """Return whether a call of a model failed, wherever it was made."""
    known = from_model or _has(chain, "AgentGenerationError")
    return known or any(_passed(cause, signs.MODEL_CLIENTS) for cause in chain)


def _passed(error: BaseException, packages: Sequence[str]) -> bool:
    """Return whether the exception has left code of one of the packages."""
    return any(
        f"{module}.".startswith(f"{name}.") for module, _ in places(error) for name in packages
    )


def _by_decision(error: BaseException) -> str | None:
    """Return the type of what stopped the case or judged it; nothing below it counts then."""
    if isinstance(error, CheckFailed):
        return error.error_type
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if not signs.STOPPED.isdisjoint(class_names(error)):
        return str(getattr(error, "error_type", "timeout"))
    return "timeout" if _is_outcome(error) and "from pytest-timeout" in str(error) else None


def _is_outcome(error: BaseException) -> bool:
    """Return whether the error is that of pytest.fail, pytest.raises or pytest.xfail."""
    return type(error).__name__ in ("Failed", "XFailed")


def _by_status(error: BaseException, chain: Sequence[BaseException]) -> str | None:
    status = http_status(error)
    if status is None or status < _CLIENT_ERROR:
        return None
    names = (name for cause in chain for name in class_names(cause))
    telling = next((name for name in names if name in signs.TELLING_CLASSES), None)
    if telling is not None:
        return signs.CLASSES[telling]
    text = " ".join(map(_said, chain)).lower()
    if status in (400, 413) and any(phrase in text for phrase in signs.CONTEXT_LENGTH):
        return "context_length"
    if status == _CLIENT_ERROR and any(phrase in text for phrase in signs.CONTENT_FILTER):
        return "content_filter"
    return _status_type(status)


def _status_type(status: int) -> str | None:
    if status < _CLIENT_ERROR:
        return None
    other = "llm_server_error" if status >= _SERVER_ERROR else "llm_bad_request"
    return signs.STATUS.get(status, other)


def _said(error: BaseException) -> str:
    # Clients leave the provider's error code and type out of the message.
    return f"{error} {getattr(error, 'code', None)} {getattr(error, 'type', None)}"


def _by_class(chain: Sequence[BaseException], *, model_call: bool) -> str | None:
    # The innermost cause is the most telling, and of its classes the narrowest.
    known = {**signs.TRANSPORT, **signs.CLASSES} if model_call else signs.CLASSES
    for cause in reversed(chain):
        if is_catch_all(cause):
            continue
        kind = next((known[name] for name in class_names(cause) if name in known), None)
        kind = kind or (_by_code(cause) if model_call else None)
        if kind is not None:
            return kind
    if not model_call:
        return None
    timed_out = "llm_timeout" if _has(chain, "TimeoutError") else None
    return timed_out or _by_environment(chain) or "llm_error"


def _by_code(error: BaseException) -> str | None:
    for code in (getattr(error, "code", None), getattr(error, "type", None)):
        text = str(code)
        kind = _status_type(int(text)) if text.isdecimal() else signs.CODES.get(text)
        if kind is not None:
            return kind
    return None


def _by_step(chain: Sequence[BaseException]) -> str | None:
    """Return what ended an agent's step; None when the exception is not one of smolagents'."""
    for place, cause in enumerate(chain):
        name = next((name for name in class_names(cause) if name in signs.STEP_ERRORS), None)
        if name is None:
            continue
        kind = signs.STEP_ERRORS[name]
        if kind == "tool_error" and str(cause).startswith(signs.UNKNOWN_TOOL):
            return "tool_not_found"
        inner, code = chain[place + 1 :], kind == "code_error"
        if _has(inner, "ToolTimeout"):
            return "tool_timeout"
        if kind == "tool_error" or (code and any(map(_left_a_tool, inner))):
            return _by_tool(inner, called_by_code=code)
        return kind
    return None


def _by_tool(inner: Sequence[BaseException], *, called_by_code: bool) -> str:
    """Return what a tool met: the place that it ran in may be at fault."""
    if called_by_code and any(map(_is_wrong_call, inner)):
        return "tool_arguments"
    return _by_environment(inner) or "tool_error"


def _left_a_tool(error: BaseException) -> bool:
    return (signs.TOOLS, "__call__") in places(error)


def _is_wrong_call(error: BaseException) -> bool:
    """Return whether a tool's function was never entered: it does not take the arguments."""
    last = list(places(error))[-1:]
    return isinstance(error, TypeError) and bool(last) and last[0][0] == signs.TOOLS


def _by_environment(chain: Sequence[BaseException]) -> str | None:
    """Return what is missing where the case runs; None when nothing is."""
    if any(map(_is_mcp_gone, chain)):
        return "mcp_unavailable"
    if any(map(_is_out_of_memory, chain)):
        return "gpu_oom"
    missing = any(isinstance(one, ImportError) or _is_missing_module(one) for one in chain)
    return "missing_dependency" if missing else None


def _is_missing_module(error: BaseException) -> bool:
    return isinstance(error, ValueError) and signs.NO_MODULE in str(error)


def _is_out_of_memory(error: BaseException) -> bool:
    if "OutOfMemoryError" in class_names(error):
        return True
    return isinstance(error, RuntimeError) and signs.OUT_OF_MEMORY.search(str(error)) is not None


def _is_mcp_gone(error: BaseException) -> bool:
    """Return whether the connection to an MCP server could not be made or is closed."""
    code = getattr(getattr(error, "error", None), "code", None)
    closed = code == signs.MCP_CLOSED or not signs.GONE.isdisjoint(class_names(error))
    return closed and _passed(error, signs.MCP)


def _by_configuration(chain: Sequence[BaseException]) -> str | None:
    for cause in chain:
        refused = isinstance(cause, ValueError) or "OpenAIError" in class_names(cause)
        if refused and any(phrase in str(cause).lower() for phrase in signs.NO_KEY):
            return "llm_auth"
    return "config_error" if any(isinstance(cause, ConfigError) for cause in chain) else None


def _by_phase(error: BaseException, when: str) -> str:
    if when == "setup":
        return "setup_error"
    if when == "teardown":
        return "teardown_error"
    unsupported = "async def functions are not natively supported" in str(error)
    judged = not unsupported and (_is_outcome(error) or isinstance(error, AssertionError))
    return "assertion" if judged else "test_error"
