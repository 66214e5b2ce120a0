"""Every run of any smolagents agent is observed here, whoever built the agent."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import GeneratorType
from typing import Any
from weakref import WeakSet

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from pytest_smoltrace import taxonomy
from pytest_smoltrace.capture.limits import CaseStopped
from pytest_smoltrace.capture.model_identity import Families, display_id
from pytest_smoltrace.capture.watchdog import LimitReached
from pytest_smoltrace.causes import is_caused_by
from pytest_smoltrace.counting import ROLE, tool_name
from pytest_smoltrace.facts import AgentRun, ErrorFact
from pytest_smoltrace.raw_span import RawSpan

Note = Callable[[AgentRun], None]
ToolSpans = Callable[[], Sequence[RawSpan]]
ModelErrors = Callable[[], Sequence[BaseException]]
_INTERRUPTED = "Agent interrupted."
"""What smolagents says of a run that `agent.interrupt()` ended."""
_NOT_TOOLS = ("final_answer", "python_interpreter")


@dataclass(slots=True)
class _Start:
    """The agent as it was when the run began."""

    managed: bool
    prompt: str | None
    steps: int
    tokens: tuple[int, int]
    context: otel_context.Context


class AgentWatch:
    """Wraps `MultiStepAgent.run` for one session."""

    def __init__(
        self, families: Families, note: Note, tool_spans: ToolSpans, model_errors: ModelErrors
    ) -> None:
        self._families = families
        self._note = note
        self._tool_spans = tool_spans
        self._model_errors = model_errors
        self._depth: ContextVar[int] = ContextVar("agent_depth", default=0)
        self._original: Any = None
        self._running: list[tuple[Any, _Start]] = []
        self._streams: WeakSet[Generator[Any]] = WeakSet()

    def install(self) -> None:
        """Wrap `run`; comes after the instrumentors, so that their span ends first."""
        from smolagents import MultiStepAgent

        original = self._original = MultiStepAgent.run

        @functools.wraps(original)
        def run(agent: Any, *args: Any, **kwargs: Any) -> Any:
            return self._run(original, agent, args, kwargs)

        MultiStepAgent.run = run

    def uninstall(self) -> None:
        """Put the method back."""
        from smolagents import MultiStepAgent

        if self._original is not None:
            MultiStepAgent.run = self._original
            self._original = None

    def _run(self, original: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        start = self._begin(agent, args, kwargs)
        token = self._depth.set(self._depth.get() + 1)
        try:
            result = original(agent, *args, **kwargs)
        except BaseException as error:
            _end_leaked_span(agent, start, error)
            self._finish(agent, start, None, error)
            raise
        finally:
            self._depth.reset(token)
        if isinstance(result, GeneratorType):
            stream = self._watched(result, agent, start)
            self._streams.add(stream)
            return stream
        self._finish(agent, start, result, None)
        return result

    def forget(self) -> None:
        """Forget the runs of an earlier case that never came to their end."""
        self._running.clear()

    def steps(self) -> int | None:
        """Return the steps of the runs that are under way; None when no agent runs."""
        running = list(self._running)
        return sum(len(_steps_of(agent, start)) for agent, start in running) if running else None

    def end_streams(self) -> None:
        """End the runs that the test began to stream and left where they are."""
        # Their spans would end, and their contexts come back, in the middle of a later case.
        for stream in list(self._streams):
            if inspect.getgeneratorstate(stream) == inspect.GEN_SUSPENDED:
                stream.close()

    def _watched(self, steps: Generator[Any], agent: Any, start: _Start) -> Generator[Any]:
        answer, error = None, None
        try:
            while (step := self._next(steps)) is not None:
                if type(step).__name__ == "FinalAnswerStep":
                    answer = step.output
                yield step
        except BaseException as raised:
            error = raised
            raise
        finally:
            steps.close()
            self._finish(agent, start, answer, error)
            # The traceback refers to this frame: it would wait for the garbage collector.
            error = None

    def _next(self, steps: Generator[Any]) -> Any:
        # Only while the agent works is it the one whose agents are managed ones.
        token = self._depth.set(self._depth.get() + 1)
        try:
            return next(steps, None)
        finally:
            self._depth.reset(token)

    def _begin(self, agent: Any, args: Any, kwargs: Any) -> _Start:
        kept = _argument(args, kwargs, 2, "reset") is False
        start = _Start(
            managed=self._depth.get() > 0,
            prompt=_text(_argument(args, kwargs, 0, "task")),
            steps=len(agent.memory.steps) if kept else 0,
            tokens=_tokens(agent) if kept else (0, 0),
            context=otel_context.get_current(),
        )
        self._running.append((agent, start))
        return start

    def _finish(self, agent: Any, start: _Start, result: Any, error: BaseException | None) -> None:
        self._running = [run for run in self._running if run[1] is not start]
        if otel_context.get_value(ROLE, start.context) is not None:
            return  # a judge's or a simulator's run is not one of the agent that is tested
        steps = _steps_of(agent, start)
        done = [s for s in steps if not _is_max_steps(s) and not _is_unbegun(s, error)]
        tokens = _tokens(agent)
        last = self._last_error(done, error)
        self._note(
            AgentRun(
                agent_type=agent_type(agent),
                agent_name=getattr(agent, "name", None),
                model=display_id(agent.model),
                provider=self._families.of(agent.model),
                managed=start.managed,
                prompt=start.prompt,
                answer=_answer(result),
                stop_reason=_stop_reason(error, capped=len(done) < len(steps)),
                steps=len(done),
                step_errors=sum(1 for s in done if s.error is not None),
                rejected_tool_calls=self._rejected(agent, done),
                last_error_type=last.type if last else None,
                last_error=last.message if last else None,
                last_exception_type=last.exception_type if last else None,
                last_http_status=last.http_status if last else None,
                input_tokens=tokens[0] - start.tokens[0],
                output_tokens=tokens[1] - start.tokens[1],
            )
        )

    def _last_error(self, done: Sequence[Any], error: BaseException | None) -> ErrorFact | None:
        """Return what ended the run, else the error of its last step; None without either."""
        known = self._model_errors()
        if isinstance(error, Exception):
            return taxonomy.classify(error, "call", from_model=is_caused_by(error, known))
        last = done[-1].error if done else None
        if last is None:
            return None
        return taxonomy.step_error(last, from_model=is_caused_by(last, known))

    def _rejected(self, agent: Any, steps: Sequence[Any]) -> int:
        if agent_type(agent) != "tool":
            return 0
        others = (*_NOT_TOOLS, *getattr(agent, "managed_agents", {}))
        spans: Sequence[RawSpan] | None = None
        rejected = 0
        for step in steps:
            asked = Counter(name for name in _asked_tools(step) if name not in others)
            if not asked:
                continue
            if spans is None:
                spans = self._tool_spans()
            first, last = step.timing.start_time * 1e9, (step.timing.end_time or 0) * 1e9
            ran = Counter(tool_name(s) for s in spans if first <= s.start_unix_ns <= last)
            rejected += (asked - ran).total()
        return rejected


def _asked_tools(step: Any) -> Iterator[str]:
    """Yield the names of the tools that the model called in a step."""
    # smolagents notes a step's calls only once all of them have ended well.
    for call in getattr(step.model_output_message, "tool_calls", None) or ():
        yield str(call.function.name)


def agent_type(agent: Any) -> str:
    """Return tool, code or custom."""
    names = [cls.__name__ for cls in type(agent).__mro__]
    if "ToolCallingAgent" in names:
        return "tool"
    return "code" if "CodeAgent" in names else "custom"


def _end_leaked_span(agent: Any, start: _Start, error: BaseException) -> None:
    # The instrumentor neither ends the agent's span nor leaves its context when the run raises;
    # the next case would join this trace.
    leaked = trace.get_current_span()
    if leaked is not trace.get_current_span(start.context) and leaked.is_recording():
        read, written = _tokens(agent)
        leaked.set_attribute("llm.token_count.prompt", read)
        leaked.set_attribute("llm.token_count.completion", written)
        leaked.set_status(StatusCode.ERROR, taxonomy.one_line(error))
        leaked.end()
    otel_context.attach(start.context)


def _steps_of(agent: Any, start: _Start) -> list[Any]:
    """Return the action steps that a run has made so far."""
    steps = agent.memory.steps[start.steps :]
    return [step for step in steps if type(step).__name__ == "ActionStep"]


def _stop_reason(error: BaseException | None, *, capped: bool) -> str:
    if isinstance(error, LimitReached):
        return "timeout"
    if isinstance(error, CaseStopped):
        return "timeout" if error.error_type == "timeout" else "budget"
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        return "run_stopped"
    if error is not None:
        return "run_stopped" if str(error) == _INTERRUPTED else "error"
    return "max_steps" if capped else "final_answer"


def _is_unbegun(step: Any, error: BaseException | None) -> bool:
    """Return whether a budget ended a step before the model was asked in it."""
    spent = isinstance(error, CaseStopped) and error.error_type != "timeout"
    return spent and step.model_output_message is None


def _is_max_steps(step: Any) -> bool:
    return type(step.error).__name__ == "AgentMaxStepsError"


def _tokens(agent: Any) -> tuple[int, int]:
    monitor = agent.monitor
    return monitor.total_input_token_count, monitor.total_output_token_count


def _argument(args: Any, kwargs: Any, position: int, name: str) -> Any:
    return args[position] if len(args) > position else kwargs.get(name)


def _answer(result: Any) -> str | None:
    if type(result).__name__ == "RunResult":
        result = result.output
    return _text(result)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
