"""Facts as JSON lines and back: the codec of the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import orjson

from pytest_smoltrace.encoding import dumps, field_names
from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.facts import (
    AgentRun,
    CaseRecord,
    CostParts,
    Declared,
    ErrorFact,
    LLMCall,
    PhaseFact,
    SpanTable,
    ToolCall,
)
from pytest_smoltrace.session_facts import Footer, Header, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")

FORMAT = 1
"""Version of the lines; a reader refuses a later one."""

_HEAD_FIELDS = tuple(name for name in field_names(CaseRecord) if name != "spans")
_CALL_FIELDS = field_names(LLMCall)
_SPAN_FIELDS = field_names(SpanTable)


class _Maker(Generic[T]):
    """Makes facts of one class from decoded fields.

    It sets the slots directly: the constructor of a frozen class costs three times as much,
    and building a dataset makes twenty facts a case.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._setters = tuple((name, kind.__dict__[name].__set__) for name in field_names(kind))

    def __call__(self, data: Mapping[str, Any]) -> T:
        """Return the fact; a missing field takes its default, JournalError when it has none."""
        made = object.__new__(self._kind)
        try:
            for name, put in self._setters:
                put(made, data[name])
        except KeyError:
            return self._with_defaults(data)
        return made

    def _with_defaults(self, data: Mapping[str, Any]) -> T:
        known = field_names(self._kind)
        try:
            return self._kind(**{name: data[name] for name in known if name in data})
        except TypeError as error:
            raise JournalError(f"a line lacks fields of {self._kind.__name__}: {error}") from error


_declared = _Maker(Declared)
_phase = _Maker(PhaseFact)
_error = _Maker(ErrorFact)
_run = _Maker(AgentRun)
_llm_call = _Maker(LLMCall)
_cost = _Maker(CostParts)
_tool_call = _Maker(ToolCall)
_case = _Maker(CaseRecord)
_spans = _Maker(SpanTable)
_header = _Maker(Header)
_part = _Maker(Part)
_footer = _Maker(Footer)


def encode_case(record: CaseRecord) -> str:
    """Return the bundle of an attempt as text without a final newline; never raises."""
    head: dict[str, Any] = {"k": "case"}
    head |= {name: getattr(record, name) for name in _HEAD_FIELDS}
    head["calls"], head["tool_sets"] = _shared_tools(record.calls)
    data = dumps(head)
    if record.spans is not None:
        line: dict[str, Any] = {"k": "spans", "trace_id": record.trace_id}
        line |= {name: getattr(record.spans, name) for name in _SPAN_FIELDS}
        data = dumps(line) + b"\n" + data
    return data.decode()


def _shared_tools(calls: Iterable[LLMCall]) -> tuple[list[dict[str, Any]], list[str]]:
    """Replace the tool definitions, equal in most calls of a case, by an index."""
    sets: list[str] = []
    rows = [{name: getattr(call, name) for name in _CALL_FIELDS} for call in calls]
    for row in rows:
        if (tools := row["tools"]) is not None:
            if tools not in sets:
                sets.append(tools)
            row["tools"] = sets.index(tools)
    return rows, sets


def encode_line(kind: str, data: Mapping[str, Any]) -> bytes:
    """Return one line of the journal without its newline; never raises."""
    return dumps({"k": kind, **data})


def fields_of(fact: Any) -> dict[str, Any]:
    """Return the fields of a fact by name."""
    return {name: getattr(fact, name) for name in field_names(type(fact))}


def decode_case(
    line: bytes, *, spans: SpanTable | None = None, attempt: int | None = None
) -> CaseRecord:
    """Return the record of a `case` line with these spans; `attempt` overrides the stored one."""
    data = load_line(line, "case")
    try:
        data["spans"] = spans
        data["attempt"] = data["attempt"] if attempt is None else attempt
        sets = data.pop("tool_sets", [])
        data["declared"] = decode_declared(data["declared"])
        data["error"] = data["error"] and _error(data["error"])
        data["phases"] = tuple(map(_phase, data["phases"]))
        data["runs"] = tuple(map(_run, data["runs"]))
        data["calls"] = tuple(_call(call, sets) for call in data["calls"])
        if data["tool_calls"] is not None:
            data["tool_calls"] = tuple(map(_tool_call, data["tool_calls"]))
        data["tags"] = tuple(data["tags"])
        data["ticks"] = tuple(map(tuple, data.get("ticks", ())))
        if data.get("gpu_uuids") is not None:
            data["gpu_uuids"] = tuple(data["gpu_uuids"])
    except (TypeError, KeyError, IndexError) as error:
        raise JournalError(f"a case line is not what this version writes: {error}") from error
    return _case(data)


def _call(data: dict[str, Any], sets: list[str]) -> LLMCall:
    """Return one LLM call, its tool definitions put back."""
    if data["tools"] is not None:
        data["tools"] = sets[data["tools"]]
    if data["cost"] is not None:
        data["cost"] = _cost(data["cost"])
    return _llm_call(data)


def decode_declared(data: dict[str, Any]) -> Declared:
    """Return what a case said about itself."""
    data["tags"] = tuple(data["tags"])
    data["expected_keywords"] = tuple(data["expected_keywords"])
    return _declared(data)


def decode_spans(line: bytes) -> SpanTable:
    """Return the spans of a `spans` line."""
    return _spans(load_line(line, "spans"))


def decode_header(line: bytes) -> Header:
    """Return the session of a `header` line; JournalError when it is torn or of a later format."""
    data = load_line(line, "header")
    if (version := data.get("format")) != FORMAT:
        raise JournalError(f"journal format {version} is not {FORMAT}: upgrade pytest-smoltrace")
    return _header(data)


def decode_part(line: bytes) -> Part:
    """Return the further session that a `session` line begins."""
    return _part(load_line(line, "session"))


def decode_footer(line: bytes) -> Footer:
    """Return the end of the session from an `end` line."""
    return _footer(load_line(line, "end"))


class Plan(NamedTuple):
    """One `plan` line: cases of the suite in the order in which they were collected."""

    cases: tuple[Declared, ...]
    left: frozenset[int] = frozenset()
    """Places of the cases that other shards run."""
    division: str | None = None
    """Checksum of which case is in which shard; None when the suite was not divided."""

    @property
    def own(self) -> tuple[Declared, ...]:
        """The cases that this session runs."""
        if not self.left:
            return self.cases
        return tuple(case for i, case in enumerate(self.cases) if i not in self.left)


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return what a `plan` line says; of an undivided suite no more than its cases."""
    data: dict[str, Any] = {"cases": list(plan.cases)}
    if plan.division is not None:
        data |= {"left": sorted(plan.left), "division": plan.division}
    return data


def decode_plan(line: bytes) -> Plan:
    """Return the planned cases of a `plan` line, equal texts stored once."""
    known: dict[Any, Any] = {}
    data = load_line(line, "plan")
    try:
        cases = tuple(_shared(case, known) for case in data["cases"])
        return Plan(cases, frozenset(data.get("left", ())), data.get("division"))
    except (TypeError, KeyError) as error:
        raise JournalError(f"a plan line is not what this version writes: {error}") from error


def _shared(case: dict[str, Any], known: dict[Any, Any]) -> Declared:
    """Return a planned case whose texts are those of the cases before where they are equal."""
    for name, value in case.items():
        if type(value) is list:
            case[name] = known.setdefault(tuple(value), tuple(value))
        elif type(value) is str:
            case[name] = known.setdefault(value, value)
    return _declared(case)


def decode_open(line: bytes) -> dict[str, Any]:
    """Return nodeid, worker and unix_ns of an `open` line."""
    return load_line(line, "open")


def load_line(line: bytes, kind: str) -> dict[str, Any]:
    """Parse one line of the given kind."""
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise JournalError(f"a {kind} line is torn: {error}") from error
    if not isinstance(data, dict) or data.get("k") != kind:
        raise JournalError(f"a line is not of kind {kind!r}")
    return data
