"""What can be known to fail before any case runs is found here."""

from __future__ import annotations

import importlib.util
import os
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_smoltrace.config import PROVIDERS, Limits, ModelSpec, RunConfig
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.hosts import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CONNECT_TIMEOUT_S = 5.0
_OLLAMA = "http://localhost:11434"
_KEY_ARGUMENTS = frozenset({"api_key", "token", "client", "client_kwargs"})
_PORTS = {"http": 80, "https": 443}


def check(config: RunConfig) -> None:
    """Check every model of the session, without calling any.

    Raises:
        ConfigError: A package or a key is missing, or nobody listens at the base URL.
    """
    for spec in config.models:
        if spec.provider in PROVIDERS:
            _check_package(spec)
    for model, names in needed_keys(config):
        if not any(os.environ.get(name) for name in names):
            raise ConfigError(
                f"model {model} needs an API key: set the environment variable {' or '.join(names)}"
            )
    for url in addresses(config):
        check_address(url)


def needed_keys(config: RunConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (model, variables) of the models that need one of the variables as their key."""
    if _KEY_ARGUMENTS & set(config.model_args):
        return
    for spec in config.models:
        names = PROVIDERS[spec.provider].api_key_env if spec.provider in PROVIDERS else ()
        own_server = config.base_url is not None and spec.provider == "openai"
        if names and not own_server:
            yield str(spec), tuple(names)


def check_hosts(specs: Iterable[Any], limits: Limits) -> None:
    """Check that a budget can be held by the workers that xdist is to start.

    Raises:
        ConfigError: A worker is to run where it sees nothing of what the others spend.
    """
    remote = list(filter(is_remote, specs))
    names = [spec.host or str(spec).replace("execmodel=main_thread_only//", "") for spec in remote]
    check_remote(names, limits)


def check_remote(names: Sequence[str], limits: Limits) -> None:
    """Check that no budget is asked of workers on other hosts, each named by its host or spec.

    Raises:
        ConfigError: There is one, and a worker sees nothing of what the others spend.
    """
    budgets = {"usd": limits.budget_usd, "tokens": limits.budget_tokens}
    options = [f"--smoltrace-budget-{name}" for name, value in budgets.items() if value is not None]
    if options and names:
        raise ConfigError(
            f"the session budget cannot be held across hosts: {names[0]} is not a process of this "
            f"host; use -n N, or leave out {' and '.join(options)}"
        )


def check_distribution(option: Any) -> None:
    """Check that xdist runs every case once.

    Args:
        option: The options of pytest, xdist's among them where it is installed.

    Raises:
        ConfigError: It would run cases several times, and somebody pays for each.
    """
    if getattr(option, "dist", "no") == "each" and option.tx:
        raise ConfigError(
            "--dist each runs every case in every worker, so that each costs as many times and "
            "has as many rows; use --dist load"
        )
    if getattr(option, "looponfail", False):
        raise ConfigError(
            "--looponfail runs failed cases again whenever a file changes, also one that a case "
            "writes, and pays for them each time; run them again with --lf"
        )


def check_address(url: str) -> None:
    """Open and close one TCP connection to a base URL.

    Raises:
        ConfigError: Nobody listens there.
    """
    address = endpoint(url)
    if _proxied(urlsplit(url).scheme, address[0]):
        return
    try:
        socket.create_connection(address, timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise ConfigError(
            f"no model server answers at {address[0]}:{address[1]} ({reason}); "
            "start it, or correct --smoltrace-base-url"
        ) from None


def endpoint(url: str) -> tuple[str, int]:
    """Return host and port of an address."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)


def _check_package(spec: ModelSpec) -> None:
    provider = PROVIDERS[spec.provider]
    if importlib.util.find_spec(provider.package) is None:
        raise ConfigError(
            f"model {spec} needs the package {provider.package!r}: "
            f"pip install '{provider.requirement}'"
        )


def addresses(config: RunConfig) -> Iterator[str]:
    """Yield the addresses at which the model servers of the session have to listen."""
    used = {spec.provider for spec in config.models}
    if config.base_url and any(p in PROVIDERS and PROVIDERS[p].base_url for p in used):
        yield config.base_url
    elif "ollama" in used:
        yield _OLLAMA


def _proxied(scheme: str, host: str) -> bool:
    """Return whether requests to the host go through a proxy, which alone can tell."""
    from urllib.request import getproxies, proxy_bypass

    return scheme in getproxies() and not proxy_bypass(host)
