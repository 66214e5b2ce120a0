"""The options: registered and read once into a frozen configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_smoltrace import config as settings
from pytest_smoltrace.config import GateSpec, Generation, Limits, ModelSpec, RunConfig
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.option_table import OPTIONS, Option
from pytest_smoltrace.option_values import one_of
from pytest_smoltrace.settings import (
    Setting,
    checked,
    effective,
    electricity,
    gates_of,
    given,
    judging,
    split_variable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_smoltrace.pyproject import Settings


def register(parser: pytest.Parser) -> None:
    """Add every option to pytest's command line and ini file."""
    group = parser.getgroup("smoltrace", "evaluation of smolagents agents")
    for option in OPTIONS:
        for flag, arguments in _arguments(option):
            group.addoption(flag, dest=option.dest, **arguments)
        kind: Literal["linelist", "string"] = "linelist" if option.repeats else "string"
        parser.addini(option.dest, option.help, type=kind, default=None)


def _arguments(option: Option) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each flag of an option with what argparse is told of it."""
    note = f"{option.help} ({option.env})".replace("%", "%%")
    if option.metavar:
        action = "append" if option.repeats else "store"
        yield option.flag, {"action": action, "metavar": option.metavar, "help": note}
        return
    yield option.flag, {"action": "store_const", "const": True, "help": note}
    if option.negative:
        note = f"Opposite of {option.flag}."
        yield option.negative_flag, {"action": "store_const", "const": False, "help": note}


def read(config: pytest.Config, extra_providers: Iterable[str] = ()) -> RunConfig | None:
    """Return the effective options, None when no model is asked for.

    A wrong value ends pytest with exit code 4 and one line. Without a model nothing else is
    read, so that options kept in an ini file disturb no other session.
    """
    try:
        model = _setting(config, OPTIONS[0])
        if not model.value:
            return None
        from pytest_smoltrace import pyproject

        table = pyproject.read(config.rootpath)
        found = {option.name: _setting(config, option, table=table) for option in OPTIONS}
        gate = next(option for option in OPTIONS if option.name == "gate")
        gates = tuple(gates_of(given(gate, _sources(config, gate)), table.gates))
        return _run_config(config, found, gates, (*settings.PROVIDERS, *extra_providers))
    except ConfigError as error:
        from pytest_smoltrace.redaction import redacted

        raise pytest.UsageError(redacted(str(error))) from None


def hosts_file(config: pytest.Config, command_line: Any) -> Path | None:
    """Return the hosts file; None without one, and without a model, as in `read`.

    Args:
        config: Need not be complete: hooks that come early have no `config.option` yet.
        command_line: The parsed command line.
    """
    named = {option.name: option for option in OPTIONS}
    try:
        settings = [_setting(config, named[name], command_line) for name in ("hosts", "model")]
        return _path(config, settings[0]) if all(one.value for one in settings) else None
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None


def _setting(
    config: pytest.Config,
    option: Option,
    command_line: Any = None,
    table: Settings | None = None,
) -> Setting:
    """Return the value of the first of flag, environment, ini, table and default that is set."""
    return effective(option, _sources(config, option, command_line, table), option.flag)


def _sources(
    config: pytest.Config,
    option: Option,
    command_line: Any = None,
    table: Settings | None = None,
) -> Iterator[tuple[str, str, Any]]:
    """Yield (origin, place, value or None), the strongest first.

    An empty variable or ini key is not set: a CI system cannot unset one.
    """
    yield "flag", option.flag, getattr(command_line or config.option, option.dest, None)
    yield "environment", option.env, split_variable(option, os.environ.get(option.env, ""))
    yield "ini", f"{option.dest} (ini)", config.getini(option.dest) or None
    kept = table.options.get(option.name) if table else None
    yield "pyproject", f"{option.name} (pyproject.toml)", kept


def _run_config(
    config: pytest.Config,
    found: Mapping[str, Setting],
    gates: tuple[GateSpec, ...],
    providers: tuple[str, ...],
) -> RunConfig:
    """Put the configuration together from single values."""
    values = {name: setting.value for name, setting in found.items()}
    kind = values["agent_type"]
    return RunConfig(
        models=_models(found, providers),
        agent_types=("tool", "code") if kind == "both" else (kind,),
        generation=Generation(**{name: values[name] for name in Generation.__slots__}),
        limits=Limits(**{name: values[name] for name in Limits.__slots__}),
        judging=judging(values, gates),
        model_args=dict(values["model_arg"]),
        directory=_path(config, found["dir"]) or Path(),
        electricity=electricity(found),
        prices=_path(config, found["prices"]),
        hosts=_path(config, found["hosts"]),
        origins={name: setting.origin for name, setting in found.items()},
        shown={name: _shown(name, setting) for name, setting in found.items()},
        **{name: values[name] for name in _TAKEN_AS_THEY_ARE},
    )


_TAKEN_AS_THEY_ARE = (
    *(
        "base_url",
        "stream",
        "max_steps",
        "trials",
        "pass_k",
        "run_id",
        "submitted_by",
        "notes",
        "suite_version",
    ),
    *("use_case", "team", "purpose", "hardware", "hide_content"),
    *("resume", "shard", "shard_durations", "gpus_per_worker", "fsync"),
    *("gpu", "gpu_interval", "hw_metrics"),
)


def _models(found: Mapping[str, Setting], providers: tuple[str, ...]) -> tuple[ModelSpec, ...]:
    """Return the models in the order in which they were named, each once."""
    named = found["provider"]
    if named.value is not None:
        checked(one_of(*providers), named.place, named.value)

    def parse(spec: str) -> ModelSpec:
        return settings.model_spec(spec, named.value, providers)

    models = found["model"]
    return tuple(dict.fromkeys(checked(parse, models.place, spec) for spec in models.value))


def _path(config: pytest.Config, setting: Setting) -> Path | None:
    """Return the path; one from an ini file, as the default one, is relative to rootdir."""
    if setting.value is None:
        return None
    typed = setting.origin in {"flag", "environment"}
    start = config.invocation_params.dir if typed else config.rootpath
    return start / Path(setting.value).expanduser()


def _shown(name: str, setting: Setting) -> Any:
    """Return the value as it may be shown and stored."""
    from pytest_smoltrace.redaction import redacted

    if name == "model_arg":
        return redacted(dict(setting.value))
    value = setting.typed if name == "shard" else setting.value
    return redacted(list(value) if isinstance(value, tuple) else value)


def runs_nothing(config: pytest.Config) -> bool:
    """Return whether the session only shows what it would run."""
    return any(
        getattr(config.option, name, False) for name in ("collectonly", "setuponly", "setupplan")
    )


def origin_lines(run_config: RunConfig) -> Iterator[str]:
    """Yield the effective options with their origin, for -v."""
    for option in OPTIONS:
        value = run_config.shown[option.name]
        if value is not None and value not in ([], {}, ""):
            text_of = ", ".join(value) if isinstance(value, list) else value
            yield f"  {option.name}: {text_of} ({run_config.origins[option.name]})"


def markdown() -> str:
    """Return the table of all options for the README."""
    rows = [
        f"| `{option.flags}` | `{option.env}` | {_default(option)} | {option.help} |"
        for option in OPTIONS
    ]
    return (
        "\n".join(("| Option | Environment | Default | Meaning |", "|---|---|---|---|", *rows))
        + "\n"
    )


def _default(option: Option) -> str:
    """Return the default as the table shows it."""
    shown = {"True": "on", "False": "off", "None": "", "": ""}
    return shown.get(str(option.default), f"`{option.default}`")
