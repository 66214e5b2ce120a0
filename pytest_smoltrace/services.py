"""What the owner of a session provides: preflight, prices, environment, local model servers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_smoltrace import gpu_listing, preflight
from pytest_smoltrace.config import PROVIDERS
from pytest_smoltrace.counting import Usage
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.pricing import PriceBook
from pytest_smoltrace.selection import model_name
from pytest_smoltrace.spending import pricer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

    from pytest_smoltrace.capture.local_model import LocalServer
    from pytest_smoltrace.config import RunConfig


class Services:
    """Started by the process that owns the session, when the first case is known."""

    def __init__(self, config: pytest.Config, run_config: RunConfig) -> None:
        self._pytest = config
        self._config = run_config
        self._servers: list[LocalServer] = []
        self.prices = PriceBook.load(run_config.prices)

    @cached_property
    def not_applied(self) -> Mapping[str, Mapping[str, str]]:
        """Model id -> setting -> why its provider does not take it."""
        from pytest_smoltrace.capture.providers import not_applied

        found = {model_name(spec): not_applied(spec, self._config) for spec in self._config.models}
        return {model: reasons for model, reasons in found.items() if reasons}

    def refused_settings(self) -> list[str]:
        """Return a line for each setting that a provider does not take."""
        return [
            f"{name} was not applied to {model}: {reason}"
            for model, reasons in self.not_applied.items()
            for name, reason in reasons.items()
        ]

    def start(self, specs: Sequence[Any] = ()) -> dict[str, str]:
        """Check that the models can be reached and start the local ones.

        Args:
            specs: xdist's specs of the workers; none where this process runs the cases.

        Returns:
            Model spec -> address of its local server.

        Raises:
            ConfigError: A case could not run; says why.
        """
        preflight.check(self._config)
        self._check_prices()
        if specs and not any(map(_shares_loopback, specs)):
            return {}  # each host starts its own
        local = (spec for spec in self._config.models if spec.provider == "local")
        return {str(spec): self._serve(spec.model_id) for spec in local}

    def _check_prices(self) -> None:
        """Refuse a budget in USD that nobody can keep.

        Raises:
            ConfigError: A model has no price.
        """
        if self._config.limits.budget_usd is None:
            return
        from pytest_smoltrace.capture.model_identity import system_name

        price = pricer(self._config, self.prices, self._pytest.hook)
        for spec in self._config.models:
            if spec.provider not in PROVIDERS:
                continue  # what a user's own provider calls its models is known when it is called
            one = Usage(prompt=1, completion=1)
            cost, _ = price(model_name(spec), system_name(spec.provider), one)
            if cost is None:
                raise ConfigError(
                    f"--smoltrace-budget-usd needs prices, and {spec} has none: "
                    "give them with --smoltrace-prices, or set --smoltrace-budget-tokens"
                )

    def stop(self) -> list[str]:
        """Stop the local model servers and return a line for each that had died."""
        deaths: list[str] = []
        while self._servers:
            server = self._servers.pop(0)
            deaths += filter(None, [server.death()])
            server.stop()
        return deaths

    def environment(self) -> dict[str, Any]:
        """Return the description of machine, versions, repository and CI system."""
        from pytest_smoltrace.capture.environment import describe

        gpus = gpu_listing.visible(self._pytest)
        return describe(self._config, rootdir=self._pytest.rootpath, gpus=gpus)

    def _serve(self, name: str) -> str:
        from pytest_smoltrace.capture.local_model import LocalServer

        server = LocalServer(name or "local")
        self._servers.append(server)
        return server.start()


def _shares_loopback(spec: Any) -> bool:
    """Return whether xdist starts the worker as a child, with the Python of this process."""
    return bool(spec.popen and not spec.via and not spec.python)
