"""The hooks, from top to bottom in the order in which pytest calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_smoltrace import options
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.fixtures import (
    INACTIVE,
    _smoltrace_trial,
    _smoltrace_variant,
    smoltrace_agent,
    smoltrace_case,
    smoltrace_gpu,
    smoltrace_model,
    smoltrace_session,
    smoltrace_task,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_smoltrace.config import RunConfig

__all__ = [
    "_smoltrace_trial",
    "_smoltrace_variant",
    "smoltrace_agent",
    "smoltrace_case",
    "smoltrace_gpu",
    "smoltrace_model",
    "smoltrace_session",
    "smoltrace_task",
]

_KEYWORDS = (
    "id, difficulty, category, tags, agent_type, expected_tool, expected_tool_calls, "
    "expected_keywords, max_steps, allow_max_steps, timeout, max_cost, "
    "max_tokens, max_total_steps, role, gpus, trials"
)
_MARKERS = (
    f"smoltrace({_KEYWORDS}): declare an agent eval case",
    "smoltrace_tasks(file, ...): run the test once for each row of a task file",
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks that others may implement."""
    from pytest_smoltrace import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    options.register(parser)
    parser.getgroup("smoltrace").addoption(
        "--smoltrace-list-metrics",
        action="store_true",
        help="List the metrics that gates can be about, and exit.",
    )


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Let what is scarce decide how many workers `-n auto` starts."""
    run_config = _read(config)
    if run_config is None:
        return None
    from pytest_smoltrace.binding import auto_workers

    return auto_workers(config, run_config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Let plugins that ask early know that the session has workers on several hosts."""
    if options.hosts_file(early_config, early_config.known_args_namespace) is not None:
        from pytest_smoltrace import gateways

        gateways.announce(early_config)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """List metrics instead of running tests, or ask xdist for workers on the hosts of a file."""
    if config.option.smoltrace_list_metrics:
        from pytest_smoltrace import terminal

        terminal.print_metrics()
        return 0
    if getattr(config.option, "looponfail", False) and _read(config) is not None:
        _check_distribution(config)  # before xdist starts its loop
    path = options.hosts_file(config, config.option)
    if path is not None and not hasattr(config, "workerinput"):
        from pytest_smoltrace import gateways

        gateways.place(config, path)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Register the part that works, when there is a model to evaluate."""
    for line in _MARKERS:
        config.addinivalue_line("markers", line)
    run_config = _read(config)
    if run_config is None:
        _refuse_unjudged(config)
        config.pluginmanager.register(Inactive(), "smoltrace-inactive")
        return
    _check_distribution(config)
    from pytest_smoltrace import binding
    from pytest_smoltrace.session import SmoltraceSession

    try:
        session = SmoltraceSession(config, run_config)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(session, "smoltrace-session")
    config.pluginmanager.register(binding.gpus(config, run_config), binding.NAME)
    if run_config.hosts is not None:
        from pytest_smoltrace import gateways

        gateways.connect(config, run_config)


def _read(config: pytest.Config) -> RunConfig | None:
    """Return the effective options, None when no model is asked for."""
    named = config.hook.pytest_smoltrace_providers()
    return options.read(config, [name for names in named for name in names or ()])


def _check_distribution(config: pytest.Config) -> None:
    """Refuse a session in which xdist runs a case several times."""
    from pytest_smoltrace import preflight

    try:
        preflight.check_distribution(config.option)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None


def _refuse_unjudged(config: pytest.Config) -> None:
    """Refuse gates that are typed for a session that evaluates nothing: they would seem to pass."""
    for flag, name in (("--smoltrace-gate", "gate"), ("--smoltrace-baseline", "baseline")):
        if getattr(config.option, f"smoltrace_{name}", None):
            raise pytest.UsageError(f"{flag} has nothing to judge: give a --smoltrace-model")


class Inactive:
    """Skips the cases of a session that has no model."""

    def __init__(self) -> None:
        self._skipped = False
        """Whether there were cases."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip what needs a model, with a reason that names the option."""
        from pytest_smoltrace.marker import is_case

        for item in items:
            if is_case(item):
                self._skipped = True
                item.add_marker(pytest.mark.skip(reason=INACTIVE))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say that gates which the project has were not judged."""
        if self._skipped:
            from pytest_smoltrace import unjudged

            for line in unjudged.lines(terminalreporter.config):
                terminalreporter.write_line(line, yellow=True)
