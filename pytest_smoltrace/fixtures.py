"""The fixtures: model, agent factory, case, task and session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_smoltrace.case_view import CaseView
    from pytest_smoltrace.config import RunConfig, Variant
    from pytest_smoltrace.gpu_view import GpuView
    from pytest_smoltrace.tasks import Task

RUNNER = "smoltrace-runner"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """The running session."""

    session_id: str
    directory: Path
    """Run directory; it exists once the first case has been collected."""
    config: RunConfig


@pytest.fixture
def smoltrace_model(request: pytest.FixtureRequest) -> Any:
    """The smolagents model of this case's configuration."""
    return _plugin(request).model_of(request.node)


@pytest.fixture
def smoltrace_agent(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A factory: `smoltrace_agent(tools=[...])` is a real ToolCallingAgent or CodeAgent.

    Every further keyword goes to smolagents.
    """
    plugin, node = _plugin(request), request.node

    def build(tools: Sequence[Any] = (), **kwargs: Any) -> Any:
        return plugin.agent_of(node, tools=list(tools), **kwargs)

    return build


@pytest.fixture
def smoltrace_case(request: pytest.FixtureRequest) -> CaseView:
    """What the case has done so far, and where checks, scores, tags and extras are recorded."""
    view: CaseView = _plugin(request).case_view(request.node)
    return view


@pytest.fixture
def smoltrace_task(request: pytest.FixtureRequest) -> Task:
    """The row of the task file that this item runs."""
    task: Task | None = getattr(request, "param", None)
    if task is None:
        pytest.fail(
            'smoltrace_task needs a file: @pytest.mark.smoltrace_tasks("tasks.jsonl")',
            pytrace=False,
        )
    return task


@pytest.fixture
def _smoltrace_variant(request: pytest.FixtureRequest) -> Variant | None:
    return getattr(request, "param", None)


@pytest.fixture
def _smoltrace_trial() -> None:
    """Stand for the parameter that makes an item of each trial."""


@pytest.fixture(scope="session")
def smoltrace_session(request: pytest.FixtureRequest) -> SessionView:
    """The running session: its id, run directory and configuration."""
    view: SessionView = _plugin(request).session_view()
    return view


@pytest.fixture(scope="session")
def smoltrace_gpu(request: pytest.FixtureRequest) -> GpuView:
    """Whether the GPUs of this host are measured, and what was read of them last."""
    view: GpuView = _plugin(request).gpu_view()
    return view


def _plugin(request: pytest.FixtureRequest) -> Any:
    plugin = request.config.pluginmanager.get_plugin(RUNNER)
    if plugin is None:
        pytest.skip(INACTIVE)
    return plugin


INACTIVE = "no model to evaluate: give one with --smoltrace-model=SPEC (SMOLTRACE_MODEL)"
