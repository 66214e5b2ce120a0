"""Hooks that others implement in a conftest or a plugin of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_smoltrace.config import ModelSpec, RunConfig
    from pytest_smoltrace.counting import Usage
    from pytest_smoltrace.facts import CostParts
    from pytest_smoltrace.gates.own import OwnGate
    from pytest_smoltrace.pipeline import Outcome


@pytest.hookspec(firstresult=True)
def pytest_smoltrace_make_model(config: RunConfig, spec: ModelSpec) -> Any | None:
    """Return the smolagents model of a spec, or None to leave it to the provider table.

    Example::

        def pytest_smoltrace_make_model(config, spec):
            if spec.provider == "acme":
                return AcmeModel(spec.model_id, **config.generation.requested())
    """


@pytest.hookspec
def pytest_smoltrace_providers() -> list[str] | None:
    """Return names of further providers that `pytest_smoltrace_make_model` builds.

    Example::

        def pytest_smoltrace_providers():
            return ["acme"]
    """


@pytest.hookspec(firstresult=True)
def pytest_smoltrace_price(model: str | None, usage: Usage) -> CostParts | None:
    """Return the cost of one LLM call in USD, or None to leave it to the price tables.

    Example::

        def pytest_smoltrace_price(model, usage):
            if model == "acme-1":
                return CostParts(prompt_usd=usage.prompt * 1e-6, completion_usd=0.0,
                                 reasoning_usd=None, cache_read_usd=None, cache_write_usd=None)
    """


@pytest.hookspec
def pytest_smoltrace_result(item: pytest.Item, case: Any) -> None:
    """Add scores, tags and extra values to a case after its test function has ended.

    It is called whether the function passed or not; `case.answer` may be None.

    Example::

        def pytest_smoltrace_result(item, case):
            case.score("words", len(case.answer.split()))
    """


@pytest.hookspec
def pytest_smoltrace_gates(config: pytest.Config) -> Mapping[str, str | OwnGate] | None:
    """Return further gates by name: expressions, or functions of candidate and baseline.

    A function is given the session and its baseline, None without one, and returns whether the
    session passes, and why.

    Example::

        def pytest_smoltrace_gates(config):
            return {"quality": "success_rate >= 80%", "short": answers_are_short}
    """


@pytest.hookspec
def pytest_smoltrace_finished(outcome: Outcome) -> None:
    """Look at the finished run: its directory, summary and datasets.

    Example::

        def pytest_smoltrace_finished(outcome):
            upload(outcome.directory / "summary.json")
    """
