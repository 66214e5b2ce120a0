"""What pytest collected: its eval cases, checked, and the plan that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_smoltrace import dist, selection
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.partial_run import PartialRun
from pytest_smoltrace.selection import DECLARED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.dist import SessionFacts
    from pytest_smoltrace.redaction import Redactor


class Collected:
    """Declares the cases of one process, before other plugins select among them."""

    def __init__(
        self, config: pytest.Config, run_config: RunConfig, facts: SessionFacts, redactor: Redactor
    ) -> None:
        self.refused = False
        """Whether this worker has said that it runs nothing."""
        self._config = run_config
        self._redactor = redactor
        self._misuse: list[ConfigError] = []
        self._partial = PartialRun(run_config, facts, redactor.json)
        config.pluginmanager.register(self, "smoltrace-collected")
        config.pluginmanager.register(self._partial, "smoltrace-partial-run")

    @pytest.hookimpl(trylast=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Turn a test into its models, agent types and tasks."""
        try:
            selection.generate(metafunc, self._config)
        except ConfigError as error:
            # A collection error would end with exit code 2; misuse of options ends with 4.
            self._misuse.append(error)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Read and check what every case declares."""
        try:
            for error in self._misuse:
                raise error
            selection.declare(items, self._config)
        except ConfigError as error:
            self.refuse(config, items, error)

    def refuse(self, config: pytest.Config, items: list[pytest.Item], error: ConfigError) -> None:
        """Run nothing; a worker leaves word why, for the controller to end the session."""
        message = self._redactor.text(str(error))
        if not dist.refuse(config, message):
            raise pytest.UsageError(message) from None
        self.refused = True
        items.clear()

    def has_cases(self, items: Sequence[pytest.Item]) -> bool:
        """Return whether the session has anything to evaluate, now or in the run it resumes."""
        return self._partial.has_done or any(DECLARED in item.stash for item in items)

    def encoded_plan(self, items: Sequence[pytest.Item]) -> str:
        """Return the plan of a session that runs these items, as it may be stored."""
        return self._partial.encoded_plan(items)
