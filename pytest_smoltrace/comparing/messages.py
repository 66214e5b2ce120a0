"""What an LLM answered, from the text that its span keeps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

_CODE = re.compile(r"<code>(.*?)(?:</code>|\Z)|```(?:py|python)?\s*\n(.*?)(?:\n```|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One answer of an LLM."""

    text: str | None = None
    calls: tuple[tuple[str, Any], ...] = ()
    """Tools that it asks for, each with its arguments."""
    code: str | None = None
    """Code that it wants to be run; None where there is none."""

    def arguments_of(self, name: str) -> Any:
        """Return the arguments of the first call of a tool, None when there is none."""
        return next((arguments for called, arguments in self.calls if called == name), None)


def message_of(output: str | None) -> Message:
    """Return the message that the `output.value` of an LLM span holds."""
    value = parsed(output)
    if not isinstance(value, dict):
        return Message(text=output, code=_code(output))
    content = value.get("content")
    text = content if isinstance(content, str) else None
    calls = tuple(_calls(value.get("tool_calls")))
    return Message(text=text, calls=calls, code=None if calls else _code(text))


def parsed(text: str | None) -> Any:
    """Return the JSON value of a text; the text itself where it is none."""
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except ValueError:  # cut, hidden, or no JSON
        return text


def _calls(found: Any) -> list[tuple[str, Any]]:
    if not isinstance(found, list):
        return []
    named = [call.get("function", call) for call in found if isinstance(call, dict)]
    return [
        (str(call.get("name")), _arguments(call.get("arguments")))
        for call in named
        if isinstance(call, dict)
    ]


def _arguments(value: Any) -> Any:
    return parsed(value) if isinstance(value, str) else value


def _code(text: str | None) -> str | None:
    """Return the code of a message: marked, fenced, or the field of a structured answer."""
    structured = parsed(text)
    if isinstance(structured, dict):
        code = structured.get("code")
        return code if isinstance(code, str) else None
    blocks = [(one or other).strip() for one, other in _CODE.findall(text or "")]
    return "\n\n".join(blocks) or None
