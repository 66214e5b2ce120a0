"""What a test sees of its case, and where it says what it thinks of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_smoltrace import checks
from pytest_smoltrace.errors import CheckFailed, ConfigError
from pytest_smoltrace.judge import Evidence, LLMJudge, shown_tool_calls, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pytest_smoltrace.capture import Case
    from pytest_smoltrace.facts import AgentRun, LLMCall
    from pytest_smoltrace.judge import Ask, Verdict


class CaseView:
    """What the case has done so far, and where the test says what it thinks of it."""

    def __init__(
        self, case: Case, judge_model: Callable[[Any], Ask], *, hide_content: bool
    ) -> None:
        self._case = case
        self._judge_model = judge_model
        self._hide = hide_content

    @property
    def id(self) -> str:
        """Stable id of the case."""
        return self._case.declared.case_id

    @property
    def trial(self) -> int:
        """0-based number of this repetition of the case."""
        return self._case.declared.trial

    @property
    def runs(self) -> tuple[AgentRun, ...]:
        """Finished agent runs, those of managed agents included."""
        return tuple(self._case.notes.runs)

    @property
    def answer(self) -> str | None:
        """Answer of the last run of a top-level agent; None when there is none."""
        runs = self._case.top_runs()
        return runs[-1].answer if runs else None

    @property
    def tools_used(self) -> tuple[str, ...]:
        """Names of the called tools in start order, repeats kept."""
        return tuple(tool.name for tool in self._case.count_so_far().tool_calls)

    @property
    def llm_calls(self) -> tuple[LLMCall, ...]:
        """Finished LLM calls, each counted once."""
        return self._case.count_so_far().calls

    @property
    def total_tokens(self) -> int | None:
        """Prompt plus completion tokens of the agent's calls; None when one reported no usage."""
        known = [(c.prompt_tokens, c.completion_tokens) for c in self._agent_calls()]
        if any(prompt is None or completion is None for prompt, completion in known):
            return None
        return sum((prompt or 0) + (completion or 0) for prompt, completion in known)

    @property
    def cost_usd(self) -> float | None:
        """Cost of the agent's calls in USD; None when one is unpriced or reported no usage."""
        costs = [call.cost for call in self._agent_calls()]
        if any(cost is None for cost in costs):
            return None
        return math.fsum(cost.total_usd for cost in costs if cost is not None)

    @property
    def extra(self) -> dict[str, Any]:
        """Values of your own, kept with the case in the column `extra`."""
        return self._case.notes.extra

    def tag(self, *tags: str) -> None:
        """Add tags to the case."""
        self._case.notes.tags += tags

    def score(self, name: str, value: float, *, threshold: float | None = None) -> None:
        """Record a number; below its threshold the case fails.

        Raises:
            CheckFailed: The value is below the threshold.
            ValueError: The value is not a finite number.
        """
        __tracebackhide__ = True
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"score {name!r} is {value!r}, not a finite number")
        passed = None if threshold is None else number >= threshold
        self._note(name, "metric", number, passed, threshold, None)
        if passed is False:
            message = f"score {name} is {number:g}, below its threshold {threshold:g}"
            raise CheckFailed(message, "score_below_threshold")

    def check(
        self,
        function: Callable[[str], Any] | LLMJudge | None = None,
        *,
        keywords: Sequence[str] | str | None = None,
        regex: str | None = None,
        number: float | None = None,
        tolerance: float = 0.0,
        json_schema: Mapping[str, Any] | None = None,
        answer: Any = None,
        name: str | None = None,
    ) -> None:
        """Check the answer; every given kind of check must hold.

        Args:
            function: Takes the answer as text and returns whether it is right; or an LLMJudge,
                which is asked when all other checks hold.
            keywords: All of them must stand in the answer, whatever their case.
            regex: Pattern that must be found in the answer.
            number: A number in the answer must be equal to it, within `tolerance`.
            tolerance: Largest absolute difference.
            json_schema: The answer must be JSON that this schema accepts.
            answer: Checked instead of the last agent's answer.
            name: Name of the check in the column `scores`.

        Raises:
            CheckFailed: A check does not hold, or there is no answer.
        """
        __tracebackhide__ = True
        text = self._answered(answer)
        judge = function if isinstance(function, LLMJudge) else None
        words = (keywords,) if isinstance(keywords, str) else keywords
        done: list[checks.Check] = []
        if words is not None:
            done.append(checks.keywords(text, words))
        if regex is not None:
            done.append(checks.regex(text, regex))
        if number is not None:
            done.append(checks.number(text, number, tolerance))
        if json_schema is not None:
            done.append(checks.json_schema(text, json_schema))
        if function is not None and not isinstance(function, LLMJudge):
            done.append(checks.custom(text, function))
        if not done and judge is None:
            raise TypeError(
                "check() needs keywords, regex, number, json_schema, a function or an LLMJudge"
            )
        self._hold(done, name, text)
        if judge is not None:
            self.judged_by(judge, answer=answer, name=name)

    def judged_by(
        self,
        judge: LLMJudge,
        *,
        expected: str | None = None,
        answer: Any = None,
        task: str | None = None,
        name: str | None = None,
    ) -> Verdict:
        """Have a language model judge the answer and record its verdict.

        Args:
            judge: Rubric, model, scale and threshold.
            expected: Reference answer that the judge sees, instead of the judge's own.
            answer: Judged instead of the last agent's answer.
            task: What was asked, instead of the last agent's task.
            name: Name in the column `scores`, instead of the judge's own.

        Raises:
            CheckFailed: The score is below the threshold, or there is no answer.
            ConfigError: The judge has no model, or it cannot be built.
            JudgeError: The judge gave no verdict.
        """
        __tracebackhide__ = True
        evidence = self._evidence(judge, expected, answer, task)
        try:
            ask = self._judge_model(judge.model)
        except ConfigError as error:
            raise ConfigError(f"LLMJudge {judge.name!r}: {error}") from error.__cause__
        with self._case.role("judge"):
            verdict = verdict_of(judge, ask, evidence)
        name = name or judge.name
        if verdict.passed is not None:
            self._case.notes.answer_checks.append(verdict.passed)
        self._note(name, "judge", verdict.score, verdict.passed, judge.threshold, verdict.reason)
        if verdict.passed is False:
            because = f": {verdict.reason}" if verdict.reason and not self._hide else ""
            message = f"score {name} is {verdict.score:g}, below its threshold {judge.threshold:g}"
            raise CheckFailed(message + because, "score_below_threshold")
        return verdict

    def judge(self) -> AbstractContextManager[None]:
        """Scope LLM calls that judge the answer: they are not the agent's."""
        return self._case.role("judge")

    def simulator(self) -> AbstractContextManager[None]:
        """Scope LLM calls that play a user or a tool: they are not the agent's."""
        return self._case.role("simulator")

    def _answered(self, answer: Any) -> str:
        __tracebackhide__ = True
        text = self.answer if answer is None else str(answer)
        if text is None or not text.strip():
            self._case.notes.answer_checks.append(False)
            raise CheckFailed("the agent gave no answer", "no_answer")
        return text

    def _evidence(
        self, judge: LLMJudge, expected: str | None, answer: Any, task: str | None
    ) -> Evidence:
        __tracebackhide__ = True
        runs = self._case.top_runs()
        calls = None
        if judge.trajectory:
            roles = self._case.count_so_far().roles
            calls = shown_tool_calls(self._case.tool_spans(), roles)
        return Evidence(
            answer=self._answered(answer),
            task=runs[-1].prompt if task is None and runs else task,
            expected=judge.expected if expected is None else expected,
            tool_calls=calls,
        )

    def _hold(self, done: Sequence[checks.Check], name: str | None, text: str) -> None:
        __tracebackhide__ = True
        for one in done:
            self._note(name or one.name, "check", float(one.passed), one.passed, None, one.reason)
            self._case.notes.answer_checks.append(one.passed)
        failed = next((one for one in done if not one.passed), None)
        if failed is not None:
            said = f"{failed.name}: {failed.reason} in the answer {checks.shown(text)}"
            message = f"the check {failed.name!r} does not hold" if self._hide else said
            raise CheckFailed(message, "wrong_answer")

    def _note(  # noqa: PLR0917 - one argument for each value of a score
        self,
        name: str,
        kind: str,
        value: float,
        passed: bool | None,  # noqa: FBT001
        threshold: float | None,
        reason: str | None,
    ) -> None:
        scores = self._case.notes.scores
        unique, number = name, 2
        while unique in scores:
            unique, number = f"{name}-{number}", number + 1
        scores[unique] = {
            "value": value,
            "passed": passed,
            "threshold": threshold,
            "kind": kind,
            "reason": None if self._hide else reason,
        }

    def _agent_calls(self) -> list[LLMCall]:
        return [call for call in self.llm_calls if call.role == "agent"]
