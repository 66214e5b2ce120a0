"""The models and agents of one process, built when a case first asks for them."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace.capture.factory import AgentFactory
from pytest_smoltrace.capture.judge_model import JudgeModel, JudgeModels
from pytest_smoltrace.capture.providers import build_model
from pytest_smoltrace.config import PROVIDERS, Generation, model_spec
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.selection import DECLARED, variant_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_smoltrace.capture import Capture
    from pytest_smoltrace.config import ModelSpec, RunConfig

NO_JUDGE = (
    "{} is no model; give it model='PROVIDER:MODEL-ID' or a smolagents model (the model under test "
    "is no default: models favour their own answers, and each model of a matrix would have a judge "
    "of its own)"
)
IN_PROCESS = frozenset({"transformers", "vllm", "mlx"})
"""Families whose models hold their weights."""


class Models:
    """Builds each model once and agents as often as they are asked for."""

    def __init__(
        self, config: RunConfig, hook: Any, capture: Capture, local_urls: Mapping[str, str]
    ) -> None:
        self._config = config
        self._hook = hook
        self._capture = capture
        self._local_urls = local_urls
        self._factory = AgentFactory()
        self._judges = JudgeModels()
        self._built: dict[tuple[ModelSpec, Generation], Any] = {}
        self._own: set[ModelSpec] = set()
        """Specs that a hook built."""

    def model(self, spec: ModelSpec, generation: Generation | None = None) -> Any:
        """Return the model of a spec, with the run's generation settings unless others are given.

        Raises:
            ConfigError: It cannot be built; says why.
        """
        key = spec, self._config.generation if generation is None else generation
        if key not in self._built:
            config = replace(self._config, generation=key[1])
            own = self._hook.pytest_smoltrace_make_model(config=config, spec=spec)
            if own is not None:
                self._own.add(spec)
            self._built[key] = own if own is not None else self._from_table(spec, config)
        return self._built[key]

    def of_trial(self, spec: ModelSpec, trial: int) -> Any:
        """Return the model of a spec for a trial: its seed is the run's plus the trial's number.

        Raises:
            ConfigError: It cannot be built; says why.
        """
        first, seed = self.model(spec), self._config.generation.seed
        if seed is None or not trial:
            return first
        generation = replace(self._config.generation, seed=seed + trial)
        key = spec, generation
        if key not in self._built and _holds_seed(first, seed):
            self._built[key] = self._reseeded(first, seed + trial)
        if key in self._built:
            return self._built[key]
        takes_seed = spec in self._own and self._capture.families.of(first) not in IN_PROCESS
        return self.model(spec, generation) if takes_seed else first

    def _reseeded(self, model: Any, seed: int) -> Any:
        """Return the model with another seed; connection, rate limit and weights are shared."""
        twin = copy(model)
        twin.kwargs = {**model.kwargs, "seed": seed}
        self._capture.families.declare(twin, self._capture.families.of(model))
        return twin

    def judge(self, model: Any) -> JudgeModel:
        """Return the model of a judge: the given one, or that of a spec.

        Raises:
            ConfigError: There is none, or it cannot be built; says why.
        """
        if isinstance(model, str) and model:
            named = self._hook.pytest_smoltrace_providers()
            known = (*PROVIDERS, *(name for names in named for name in names or ()))
            # What the run asks of its agents, a short answer or a high temperature, is not for it.
            spec = model_spec(model, None, known)
            if spec.provider == "local" and str(spec) not in self._local_urls:
                raise ConfigError(f"{spec} runs only while --smoltrace-model={spec} evaluates it")
            model = self.model(spec, Generation())
        if not hasattr(model, "generate"):
            raise ConfigError(NO_JUDGE.format(repr(model)))
        return self._judges.of(model)

    def model_of(self, item: pytest.Item) -> Any:
        """Return the model of the item's configuration."""
        try:
            spec, declared = variant_of(item, self._config).model, item.stash[DECLARED]
            return self.of_trial(spec, declared.trial)
        except ConfigError as error:
            pytest.fail(str(error), pytrace=False)

    def agent_of(self, item: pytest.Item, **kwargs: Any) -> Any:
        """Return an agent of the item's configuration; keywords go to smolagents."""
        declared = item.stash[DECLARED]
        model = kwargs.pop("model", None) or self.model_of(item)
        if declared.max_steps is not None:
            kwargs["max_steps"] = declared.max_steps
        elif self._config.max_steps is not None:
            kwargs.setdefault("max_steps", self._config.max_steps)
        kind = declared.agent_type or "tool"
        return self._factory.build(kind, model, stream=self._config.stream, **kwargs)

    def _from_table(self, spec: ModelSpec, config: RunConfig) -> Any:
        built = build_model(spec, config, self._local_urls.get(str(spec)))
        self._capture.families.declare(built.model, built.family)
        return built.model


def _holds_seed(model: Any, seed: int) -> bool:
    """Return whether a model sends this seed with each of its calls."""
    sent = getattr(model, "kwargs", None)
    return isinstance(sent, dict) and sent.get("seed") == seed
