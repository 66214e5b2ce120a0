"""The spans of a case as one columnar value in which every long text stands once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.capture.payloads import HIDDEN, dumps
from pytest_smoltrace.facts import SpanTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_smoltrace.raw_span import RawSpan

# Shorter texts cost more as a reference than as themselves.
INTERN_FROM = 48
ATTRIBUTE_LIMIT = 32 * 1024
TRACE_LIMIT = 1024 * 1024
_CUT = " [cut]"
_CONTENT_KEYS = frozenset(
    {
        *("input.value", "output.value", "smolagents.task", "smolagents.additional_args"),
        *("exception.message", "exception.stacktrace"),
    }
)
_CONTENT_PREFIXES = (
    *("llm.input_messages.", "llm.output_messages.", "llm.prompts", "llm.completions"),
    *("gen_ai.input.", "gen_ai.output.", "gen_ai.prompt", "gen_ai.completion"),
    "retrieval.documents.",
)
_CONTENT_SUFFIXES = (".managed_agent_prompt", ".additional_prompting")


class Texts:
    """The string table of one trace, within the limits of the contract."""

    def __init__(self, clean: Callable[[str], str] = str) -> None:
        self._clean = clean
        self.strings: list[str] = []
        self.truncated = False
        self._index: dict[str, int] = {}
        self._left = TRACE_LIMIT

    def array(self, messages: Sequence[str]) -> Any:
        """Return a reference to a JSON array of messages that are JSON themselves."""
        kept = self._within_limit(messages)
        return {"j": [self._message(text) for text in kept]}

    def intern(self, text: str) -> int:
        """Return the index of a text in the table."""
        index = self._index.get(text)
        if index is None:
            stored = self._cut(text)
            index = self._index[text] = len(self.strings)
            self.strings.append(stored)
        return index

    def _message(self, text: str) -> int:
        if text not in self._index and size(text) > self._left:
            self.truncated = True
            text = shortened(text, self._left, self._clean)
        if text not in self._index:
            self._index[text] = len(self.strings)
            self.strings.append(text)
            self._left = max(self._left - size(text), 0)
        return self._index[text]

    def _cut(self, text: str) -> str:
        limit = min(ATTRIBUTE_LIMIT, self._left)
        if size(text) > limit:
            text = self._clean(text)  # half a secret is not known for one any more
        if size(text) > limit:
            self.truncated = True
            start = text.encode("utf-8", "replace")[: max(limit - len(_CUT), 0)]
            text = start.decode("utf-8", "ignore") + _CUT
        self._left = max(self._left - size(text), 0)
        return text

    def _within_limit(self, messages: Sequence[str]) -> Sequence[str]:
        """Keep the first message and as many of the latest as one attribute may hold."""
        if sum(map(size, messages)) <= ATTRIBUTE_LIMIT:
            return messages
        self.truncated = True
        if len(messages) == 1:
            return [shortened(messages[0], ATTRIBUTE_LIMIT, self._clean)]
        first = shortened(messages[0], ATTRIBUTE_LIMIT // 2, self._clean)
        room = ATTRIBUTE_LIMIT - size(first)
        latest = [shortened(messages[-1], room, self._clean)]
        room -= size(latest[0])
        for text in reversed(messages[1:-1]):
            room -= size(text)
            if room < 0:
                break
            latest.append(text)
        dropped = len(messages) - 1 - len(latest)
        marker = [f'{{"cut_messages":{dropped}}}'] if dropped else []
        return [first, *marker, *reversed(latest)]


def size(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def shortened(message: str, limit: int, clean: Callable[[str], str] = str) -> str:
    """Return a message that is JSON as JSON of about `limit` bytes, its content cut.

    Args:
        message: Object with role and content.
        limit: A shorter message is returned as it is.
        clean: Takes secrets out of the content before it is cut.
    """
    if size(message) <= limit:
        return message
    value = json.loads(message)
    content = value.get("content")
    text = clean(content if isinstance(content, str) else dumps(content))
    room = min(len(text), limit)
    while True:
        short = dumps({"role": value.get("role"), "content": text[:room] + _CUT})
        if size(short) <= limit or room == 0:
            return short
        # Letters differ in bytes, and quotes and line ends are escaped.
        room = min(room * limit // size(short), room - 1)


def span_table(
    spans: Iterable[RawSpan],
    roles: Mapping[str, str],
    messages: Mapping[str, Sequence[str]],
    *,
    hide_content: bool,
    clean: Callable[[str], str] = str,
) -> tuple[SpanTable, bool]:
    """Return the spans as a table, and whether any text was cut.

    Args:
        spans: The spans of one trace.
        roles: Span id -> role; agent where absent.
        messages: Span id -> the messages of its request, each as JSON.
        hide_content: Replace prompts and answers.
        clean: Takes secrets out of a text that will be cut.
    """
    ordered = sorted(spans, key=lambda span: (span.start_unix_ns, span.span_id))
    texts = Texts(clean)
    attributes = [_attributes(s, texts, messages, hide_content=hide_content) for s in ordered]
    table = SpanTable(
        span_id=[span.span_id for span in ordered],
        parent_id=[span.parent_id for span in ordered],
        name=[span.name for span in ordered],
        kind=[span.kind for span in ordered],
        start_unix_ns=[span.start_unix_ns for span in ordered],
        end_unix_ns=[span.end_unix_ns for span in ordered],
        status=[span.status for span in ordered],
        description=[_description(s, hide_content=hide_content) for s in ordered],
        scope=[span.scope for span in ordered],
        attributes=attributes,
        events={
            str(i): _events(span, texts, hide_content=hide_content)
            for i, span in enumerate(ordered)
            if span.events
        },
        links={str(i): _links(span) for i, span in enumerate(ordered) if span.links},
        orphans=[i for i, span in enumerate(ordered) if span.orphan],
        roles={
            str(i): roles[span.span_id]
            for i, span in enumerate(ordered)
            if roles.get(span.span_id, "agent") != "agent"
        },
        strings=texts.strings,
    )
    return table, texts.truncated


def _attributes(
    span: RawSpan, texts: Texts, messages: Mapping[str, Sequence[str]], *, hide_content: bool
) -> dict[str, Any]:
    known = messages.get(span.span_id)
    plain: dict[str, Any] = {}
    for key, value in span.attributes.items():
        if hide_content and is_content(key):
            plain[key] = HIDDEN
        elif known and key == "input.value":
            plain[key] = texts.array(known)
        else:
            plain[key] = _plain(value, texts)
    return plain


def is_content(key: str) -> bool:
    """Return whether an attribute holds prompts, answers, or tool inputs and outputs."""
    return (
        key in _CONTENT_KEYS or key.startswith(_CONTENT_PREFIXES) or key.endswith(_CONTENT_SUFFIXES)
    )


def _description(span: RawSpan, *, hide_content: bool) -> str | None:
    # What an exception says may repeat the prompt or the answer.
    return HIDDEN if hide_content and span.description else span.description


def _plain(value: Any, texts: Texts) -> Any:
    if isinstance(value, str):
        return value if len(value) < INTERN_FROM else {"s": texts.intern(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item, texts) for item in value]
    return value


def _events(span: RawSpan, texts: Texts, *, hide_content: bool) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "timestamp": timestamp,
            "attributes": {
                key: HIDDEN if hide_content and is_content(key) else _plain(value, texts)
                for key, value in attributes.items()
            },
        }
        for name, timestamp, attributes in span.events
    ]


def _links(span: RawSpan) -> list[dict[str, Any]]:
    return [
        {"trace_id": trace_id, "span_id": span_id, "attributes": dict(attributes)}
        for trace_id, span_id, attributes in span.links
    ]
