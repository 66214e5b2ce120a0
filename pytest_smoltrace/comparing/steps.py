"""What an attempt did, step by step, read from the spans of its trace."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from pytest_smoltrace.comparing.messages import Message, message_of, parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Kind = Literal["tool", "answer", "code", "error", "llm"]

FINAL_ANSWER = "final_answer"
STEP_LIMIT = "step limit"
"""Name of an answer that was asked for when the steps were used up."""
_STEP = re.compile(r"Step \d+")
_TOKENS, _COST = "gen_ai.usage.total_tokens", "gen_ai.usage.cost.total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that an agent did."""

    kind: Kind
    name: str = ""
    """Tool or managed agent that was called; of errors the exception; of answers how they came
    about."""
    arguments: Any = None
    """Of a call, the object it was called with; of code, its text; None where unknown."""
    result: str | None = None
    """What came back; None where unknown."""
    error: str | None = None
    """What went wrong; None where nothing did."""
    number: int | None = None
    """Step of its agent, from 1; None outside of agents."""
    agent: str | None = None
    """Managed agent that did it; None for the outermost."""
    tokens: int | None = 0
    """Tokens of the LLM calls that led to it; None where one reported none."""
    cost_usd: float | None = 0.0
    duration_ms: float = 0.0
    """Time of it and of these calls."""


def steps_of(spans: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Return the steps of a trace from its spans; what judges and fixtures do is no step."""
    return tuple(_Trace(spans).steps())


class _Trace:
    """The spans of a trace as a tree."""

    def __init__(self, spans: Sequence[Mapping[str, Any]]) -> None:
        self._children: dict[str | None, list[Mapping[str, Any]]] = {}
        for span in sorted(spans, key=itemgetter("start_time", "span_id")):
            self._children.setdefault(span["parent_span_id"], []).append(span)

    def steps(self) -> Iterator[Step]:
        """Yield the steps of all agents, and calls outside of agents."""
        for root in self._children.get(None, ()):
            for span in self._below(root):
                yield from self._outside(span)

    def _outside(self, span: Mapping[str, Any]) -> Iterator[Step]:
        """Yield the steps of a span that belongs to no agent."""
        kind = _kind(span)
        if kind == "AGENT":
            yield from self._run(span, None)
        elif _counted(span):
            yield _bare_call(span)
        elif kind == "TOOL" and _is_agents(span):
            yield from self._of_act(span, _act(span, None, None), ())
        elif _is_step(span):
            for child in self._below(span):
                yield from self._outside(child)

    def _run(self, run: Mapping[str, Any], agent: str | None) -> Iterator[Step]:
        """Yield the steps of one run of an agent, and its answer."""
        number, answered = 0, not _is_agents(run)
        rest: list[Mapping[str, Any]] = []
        for span in () if answered else self._below(run):
            if _is_step(span):
                number += 1
                planned, rest = rest, []
                for step in self._of_chain(span, number, agent, planned):
                    answered = answered or (step.kind == "answer" and step.agent == agent)
                    yield step
            elif _counted(span):
                rest.append(span)
        if not answered:
            yield from _own_end(run, rest, agent)

    def _of_chain(
        self,
        chain: Mapping[str, Any],
        number: int,
        agent: str | None,
        planned: Sequence[Mapping[str, Any]],
    ) -> Iterator[Step]:
        """Yield what one step of an agent came to: its calls, its code or its error."""
        below = list(self._below(chain))
        calls = [span for span in below if _counted(span)]
        message = message_of(_attribute(calls[-1], "output.value") if calls else None)
        acts = [s for s in below if _kind(s) in ("TOOL", "AGENT") and _is_agents(s)]
        acts.sort(key=_asked(message))
        own_ms = chain["duration_ms"] - sum(span["duration_ms"] for span in (*calls, *acts))
        calls = [*planned, *calls]
        for span in acts:
            yield from self._of_act(span, _act(span, number, agent, message), calls)
            calls = []
        end = _end(chain, acts, message)
        if end is not None:
            timed = replace(end, number=number, agent=agent, duration_ms=max(own_ms, 0.0))
            yield _charged(timed, calls)

    def _of_act(
        self, span: Mapping[str, Any], step: Step, calls: Sequence[Mapping[str, Any]]
    ) -> Iterator[Step]:
        """Yield a call with what it took, then the steps of the agents that it ran."""
        if _kind(span) == "AGENT":
            yield _charged(step, calls)
            yield from self._run(span, step.name)
            return
        within = list(self._below(span))
        inner = [each for each in within if _counted(each)]
        # The time of calls that a tool makes is its own time.
        usage = _charged(replace(step, duration_ms=0.0), [*calls, *inner])
        took = step.duration_ms + sum(call["duration_ms"] for call in calls)
        yield replace(usage, duration_ms=took)
        for run in within:
            if _kind(run) == "AGENT":
                yield from self._run(run, _name(run))

    def _below(self, span: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the nearest spans below one that mean something here; others are passed."""
        for child in self._children.get(span["span_id"], ()):
            if _kind(child) in ("TOOL", "AGENT") or _is_step(child) or _counted(child):
                yield child
            else:
                yield from self._below(child)


def _act(
    span: Mapping[str, Any], number: int | None, agent: str | None, message: Message | None = None
) -> Step:
    """Return the call of a tool, or of a managed agent, whose steps follow it."""
    name = _name(span)
    managed = _kind(span) == "AGENT"
    recorded = parsed(_attribute(span, "tool.parameters"))
    asked = message.arguments_of(name) if message and managed else recorded
    answer = name == FINAL_ANSWER
    return Step(
        kind="answer" if answer else "tool",
        name=name,
        arguments=None if answer else asked,
        result=None if managed else _attribute(span, "output.value"),
        error=None if managed else _error(span),
        number=number,
        agent=agent,
        duration_ms=0.0 if managed else span["duration_ms"],
    )


def _end(
    chain: Mapping[str, Any], acts: Sequence[Mapping[str, Any]], message: Message
) -> Step | None:
    """Return what a step came to beside its calls; None where they say it all."""
    error, output = _error(chain), _attribute(chain, "output.value")
    if error is not None:
        if any(_error(span) for span in acts):
            return None
        name, _, text = error.partition(": ")
        failed = Step(kind="error", name=name, error=text or error)
        if message.code is not None and name == "AgentExecutionError":
            failed = Step(kind="code", arguments=message.code, error=text)
        return failed
    if any(_name(span) == FINAL_ANSWER for span in acts):
        return None
    if message.code is not None:
        return Step(kind="code", arguments=message.code, result=output)
    return None if acts else Step(kind="llm", result=message.text)


def _own_end(
    run: Mapping[str, Any], rest: Sequence[Mapping[str, Any]], agent: str | None
) -> Iterator[Step]:
    """Yield the answer of a run that called no final_answer, nothing for one that failed."""
    answer = _attribute(run, "output.value")
    if run["status"]["code"] != "ERROR" and (answer is not None or rest):
        name = STEP_LIMIT if rest else FINAL_ANSWER
        step = Step(kind="answer", name=name, result=answer, agent=agent)
        yield _charged(step, rest)


def _bare_call(span: Mapping[str, Any]) -> Step:
    """Return an LLM call outside of agents."""
    text = message_of(_attribute(span, "output.value")).text
    return _charged(Step(kind="llm", result=text, error=_error(span)), [span])


def _charged(step: Step, calls: Sequence[Mapping[str, Any]]) -> Step:
    """Return a step with what LLM calls took; what one of them does not tell is unknown."""
    tokens = [_attribute(span, _TOKENS) for span in calls]
    costs = [_attribute(span, _COST) for span in calls]
    return replace(
        step,
        tokens=None if None in tokens else sum(tokens),
        cost_usd=None if None in costs else float(sum(costs)),
        duration_ms=step.duration_ms + sum(span["duration_ms"] for span in calls),
    )


def _asked(message: Message) -> Callable[[Mapping[str, Any]], tuple[int, int]]:
    """Return the order in which calls were asked for: parallel ones start in any order."""
    names = [name for name, _ in message.calls]

    def place(span: Mapping[str, Any]) -> tuple[int, int]:
        arguments = parsed(_attribute(span, "tool.parameters"))
        pair = (_name(span), arguments)
        if pair in message.calls:
            return message.calls.index(pair), span["start_time"]
        where = names.index(pair[0]) if pair[0] in names else len(names)
        return where, span["start_time"]

    return place


def _name(span: Mapping[str, Any]) -> str:
    if _kind(span) == "AGENT":
        return str(span["name"]).removesuffix(".run")
    return str(_attribute(span, "tool.name") or span["name"])


def _error(span: Mapping[str, Any]) -> str | None:
    status = span["status"]
    return (status["description"] or "failed") if status["code"] == "ERROR" else None


def _kind(span: Mapping[str, Any]) -> str:
    return str(_attribute(span, "openinference.span.kind"))


def _is_step(span: Mapping[str, Any]) -> bool:
    """Return whether a span is a step of smolagents: spans without a kind are CHAIN as well."""
    return _kind(span) == "CHAIN" and _STEP.fullmatch(span["name"]) is not None


def _is_agents(span: Mapping[str, Any]) -> bool:
    return _attribute(span, "smoltrace.role") in (None, "agent")


def _counted(span: Mapping[str, Any]) -> bool:
    return bool(_attribute(span, "smoltrace.counted_call")) and _is_agents(span)


def _attribute(span: Mapping[str, Any], name: str) -> Any:
    return span["attributes"].get(name)
