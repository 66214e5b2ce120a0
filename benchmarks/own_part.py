"""CPU of the plugin's own part of a case: 7 agent spans, 2 of them LLM calls.

One real case is recorded under the instrumentors. Then its calls are replayed: the model
answers are the recorded ones, and the five spans that OpenInference gives are made outside the
clock. Inside the clock are the root span, the phases, the tap of both calls, the agent watch,
counting, encoding and the append to the journal.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scripted
import sessions
from opentelemetry import trace

from pytest_smoltrace.capture import Capture, Case, instrumentors
from pytest_smoltrace.capture import case as case_module
from pytest_smoltrace.capture.agent import AgentWatch
from pytest_smoltrace.capture.model_tap import ModelTap
from pytest_smoltrace.codec import encode_case
from pytest_smoltrace.config import ModelSpec, RunConfig
from pytest_smoltrace.facts import CaseRecord, Declared
from pytest_smoltrace.journal import JournalWriter
from pytest_smoltrace.pricing import PriceBook
from pytest_smoltrace.session_facts import Header
from pytest_smoltrace.spending import pricer

if TYPE_CHECKING:
    from collections.abc import Callable

_SEVEN = {f"attribute.{number}": "value" for number in range(7)}
PHASES = ("setup", "call", "teardown")


class Clock:
    """CPU time of this thread, less what passed between `pause` and `resume`."""

    def __init__(self) -> None:
        self._excluded_ns = 0
        self._started_ns = 0
        self._paused_ns = 0

    def start(self) -> None:
        """Begin a case."""
        self._excluded_ns = 0
        self._started_ns = time.thread_time_ns()

    def pause(self) -> None:
        """Stop counting."""
        self._paused_ns = time.thread_time_ns()

    def resume(self) -> None:
        """Count again."""
        self._excluded_ns += time.thread_time_ns() - self._paused_ns

    def read_us(self) -> float:
        """Return the microseconds counted since `start`."""
        return (time.thread_time_ns() - self._started_ns - self._excluded_ns) / 1000


class NoHooks:
    """Stands for the pluggy hook relay of a session in which nobody prices calls."""

    def pytest_smoltrace_price(self, **_: Any) -> None:
        """Leave the price to the tables."""


class Replay:
    """Makes the spans and the model calls of one recorded run again."""

    def __init__(self, agent_type: str, clock: Clock) -> None:
        self.clock = clock
        self.agent = scripted.stock_agent(agent_type)
        self._spans: dict[str, dict[str, Any]] = {}
        self._requests: list[tuple[Any, dict[str, Any]]] = []
        self._tracer = trace.get_tracer("openinference.instrumentation.smolagents")

    def record(self, capture: Capture) -> None:
        """Run the agent once and keep its requests and its spans."""
        generate = scripted.ScriptedModel.generate

        def kept(model: Any, messages: Any, **kwargs: Any) -> Any:
            self._requests.append((list(messages), kwargs))
            return generate(model, messages, **kwargs)

        scripted.ScriptedModel.generate = kept
        record = one_case(capture, lambda: self.agent.run("What is the weather in Graz?"))
        scripted.ScriptedModel.generate = generate
        spans = record.spans
        assert spans is not None
        for name, values in zip(spans.name, spans.attributes, strict=True):
            plain = {k: _text(v, spans.strings) for k, v in values.items()}
            self._spans[name.split(".")[-1]] = plain
        assert len(spans.name) == 11, spans.name

    def __call__(self, agent: Any, task: str) -> str:
        """Stand for `MultiStepAgent.run`."""
        run = self._begin("run")
        for number, (messages, kwargs) in enumerate(self._requests):
            step = self._begin(f"Step {number + 1}")
            agent.model.generate(messages, **kwargs)
            self._end(self._begin("Weather" if number == 0 else "FinalAnswerTool"))
            self._end(step)
        self._end(run)
        return f"sunny in Graz ({task})"

    def bare_span_us(self) -> float:
        """Return the CPU of one span with seven attributes: a yardstick for the machine."""
        before = time.thread_time_ns()
        self._tracer.start_span("yardstick", attributes=_SEVEN).end()
        return (time.thread_time_ns() - before) / 1000

    def _begin(self, name: str) -> Any:
        self.clock.pause()
        scope = self._tracer.start_as_current_span(name, attributes=self._spans[name])
        scope.__enter__()
        self.clock.resume()
        return scope

    def _end(self, scope: Any) -> None:
        self.clock.pause()
        scope.__exit__(None, None, None)
        self.clock.resume()


def _text(value: Any, strings: list[str]) -> Any:
    return strings[value["s"]] if isinstance(value, dict) and "s" in value else value


def one_case(capture: Capture, run: Callable[[], Any]) -> CaseRecord:
    """Do what the hooks do around an item."""
    nodeid = "test_weather.py::test_weather[1]"
    declared = Declared(case_id=nodeid, nodeid=nodeid, model=scripted.MODEL_ID)
    case = capture.open(declared, 0)
    for when in PHASES:
        with case.phase(when):
            if when == "call":
                run()
        if when == "teardown":
            case.close_root()
        case.note_report(when, "passed", None)
    case.notes.outcome = "passed"
    return capture.close(case)


SECTIONS = (
    (Capture, "open", "open the case"),
    (Case, "_enter", "begin phases"),
    (Case, "_leave", "end phases"),
    (ModelTap, "_generate", "tap"),
    (AgentWatch, "_begin", "agent watch"),
    (AgentWatch, "_finish", "agent watch"),
    (Case, "close_root", "end the root"),
    (Case, "_collect", "close: collect spans"),
    (case_module, "count", "close: count"),
    (case_module, "span_table", "close: span table"),
    (case_module, "resident_mib", "close: resident memory"),
    (Capture, "close", "close: rest"),
    (sys.modules[__name__], "encode_case", "encode"),
    (JournalWriter, "open_case", "journal"),
    (JournalWriter, "append", "journal"),
)


def report_sections(case: Callable[[], float], clock: Clock, cases: int) -> None:
    """Print where the time goes; every section costs about 2 us more than unmeasured."""
    spent: Counter[str] = Counter()
    nested: list[float] = []

    def timed(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            nested.append(0.0)
            before = clock.read_us()
            try:
                return function(*args, **kwargs)
            finally:
                took = clock.read_us() - before
                spent[name] += took - nested.pop()
                if nested:
                    nested[-1] += took

        return call

    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in SECTIONS]
    for (owner, name, original), (_, _, label) in zip(originals, SECTIONS, strict=True):
        setattr(owner, name, timed(original, label))
    total = sum(case() for _ in range(cases))
    for owner, name, original in originals:
        setattr(owner, name, original)
    spent["between"] = total - sum(spent.values())
    parts = (f"{name} {us / cases:.0f}" for name, us in spent.most_common())
    print(f"  sections, us: {', '.join(parts)}")


def observer(config: Any, book: PriceBook) -> Capture:
    """Return what observes the cases, as a session without limits has it."""
    return Capture(
        pricer(config, book, NoHooks()),
        bounds=config.limits,
        coordination=None,
        hide_content=False,
        worker_id="main",
    )


def measure(agent_type: str, cases: int, folder: Path, *, profile: bool, sections: bool) -> None:
    clock = Clock()
    config = RunConfig(models=(ModelSpec(provider="bench", model_id="scripted"),))
    book = PriceBook.load(None)
    capture = observer(config, book)
    replay = Replay(agent_type, clock)
    capture.start()
    replay.record(capture)
    capture.stop()
    writer = _writer(folder / f"{agent_type}.jsonl")

    from smolagents import MultiStepAgent

    genuine = MultiStepAgent.run
    MultiStepAgent.run = replay
    started = instrumentors.Instrumentors.start
    instrumentors.Instrumentors.start = lambda *_, **__: None
    try:
        again = observer(config, book)
        again.start()

        def case() -> float:
            clock.start()
            writer.open_case("test_weather.py::test_weather[1]", "main", time.time_ns())
            bundle = encode_case(one_case(again, lambda: replay.agent.run("What weather?")))
            writer.append(bundle)
            return clock.read_us()

        for _ in range(100):
            case()
        if profile:
            _profile(case, cases)
        report(agent_type, [(case(), replay.bare_span_us()) for _ in range(cases)])
        if sections:
            report_sections(case, clock, cases)
        again.stop()
    finally:
        MultiStepAgent.run = genuine
        instrumentors.Instrumentors.start = started
        writer.close()


def report(agent_type: str, costs_us: list[tuple[float, float]]) -> None:
    own, bare = (sorted(values) for values in zip(*costs_us, strict=True))
    print(
        f"{agent_type} agent, {len(own)} cases, own CPU us a case: "
        f"mean {statistics.fmean(own):.0f}, median {statistics.median(own):.0f}, "
        f"p10 {own[len(own) // 10]:.0f}, p90 {own[len(own) * 9 // 10]:.0f}; one bare span of the "
        f"SDK between the cases: median {statistics.median(bare):.1f}, so the own part is "
        f"{statistics.median(own) / statistics.median(bare):.1f} spans"
    )


def _writer(path: Path) -> JournalWriter:
    writer = JournalWriter(path.with_suffix("") / path.name)
    writer.create(
        Header(session_id="bench", started_unix_ns=0, plugin_version="0", config={}, environment={})
    )
    return writer


def _profile(case: Callable[[], float], cases: int) -> None:
    import cProfile
    import pstats

    profiler = cProfile.Profile(time.thread_time)
    profiler.enable()
    for _ in range(cases):
        case()
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    pstats.Stats(profiler).sort_stats("cumtime").print_stats("pytest_smoltrace", 40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--sections", action="store_true")
    arguments = parser.parse_args()
    print(sessions.conditions())
    with tempfile.TemporaryDirectory() as folder:
        for agent_type in ("tool", "code"):
            measure(
                agent_type,
                arguments.cases,
                Path(folder),
                profile=arguments.profile,
                sections=arguments.sections,
            )


if __name__ == "__main__":
    main()
