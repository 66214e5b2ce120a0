"""What an exception and its causes say: their chain, their HTTP status, where they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_smoltrace import signs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MESSAGE_LIMIT = 4096
_STATUSES = range(300, 600)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and its causes, outermost first; of a group its first member."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        members = current.exceptions if isinstance(current, BaseExceptionGroup) else (None,)
        hidden = current.__suppress_context__
        current = current.__cause__ or members[0] or (None if hidden else current.__context__)


def is_caused_by(error: BaseException, known: Iterable[BaseException]) -> bool:
    """Return whether one of the known exceptions is the exception or one of its causes."""
    chain = list(causes(error))
    return any(cause is one for one in known for cause in chain)


def class_names(error: BaseException) -> list[str]:
    """Return the names of the exception's classes, the narrowest first."""
    return [kind.__name__ for kind in type(error).__mro__]


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status of the innermost cause that carries one.

    None when a cause below it says that no response came: litellm and others give such an error
    a status that no server sent.
    """
    for cause in reversed(list(causes(error))):
        status = _own_status(cause)
        if status is not None:
            return status
        if not signs.TRANSPORT.keys().isdisjoint(class_names(cause)):
            return None
    return None


def is_catch_all(error: BaseException) -> bool:
    """Return whether litellm made the error of anything else: it knows no better status then."""
    made_up = getattr(error, "status_code", None) == signs.CATCH_ALL_STATUS
    of_litellm = type(error).__module__.partition(".")[0] == "litellm"
    return of_litellm and made_up and "HTTPStatusError" not in class_names(error)


def _own_status(error: BaseException) -> int | None:
    if is_catch_all(error):
        return None
    response = getattr(error, "response", None)
    values = (
        getattr(response, "status_code", None),
        getattr(error, "status_code", None),
        getattr(error, "status", None),  # aiohttp, urllib
        _of_bedrock(response),
    )
    known = (v for v in values if isinstance(v, int) and not isinstance(v, bool))
    return next((int(value) for value in known if value in _STATUSES), None)


def _of_bedrock(response: Any) -> Any:
    if not isinstance(response, dict):
        return None
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode")


def places(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield module and function of each frame that the exception left, outermost first."""
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        yield str(frame.f_globals.get("__name__")), frame.f_code.co_name
        traceback = traceback.tb_next


def one_line(error: BaseException | str) -> str:
    """Return the message on one line, cut to 4096 characters."""
    text = " ".join(str(error).split())
    # The mark tells redaction that a secret may have been cut too.
    return text if len(text) <= _MESSAGE_LIMIT else f"{text[: _MESSAGE_LIMIT - 1]}…"


def qualified(error: BaseException) -> str:
    """Return the qualified class name of an exception."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
