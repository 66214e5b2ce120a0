"""The table [tool.smoltrace] of pyproject.toml: options and gates, reviewed with the code."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.config import GateSpec
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.option_table import OPTIONS
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE = "pyproject.toml"
TABLE = "[tool.smoltrace]"
GATES = "gates"
_NOT_HERE = frozenset({"model", "hosts", "gates", "gate"})
"""Options that no table sets: a model makes a session active, the gates have a table."""
_GATE_KEYS = ("expr", "level", "min_n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the table says; both parts are empty without it."""

    options: Mapping[str, str | list[str]]
    """Option name -> text, or texts of a repeatable one."""
    gates: tuple[GateSpec, ...]


def read(rootdir: Path) -> Settings:
    """Return the table of the pyproject.toml in a folder.

    Raises:
        ConfigError: The file or the table cannot be used; names the key.
    """
    path = rootdir / FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("smoltrace", {})
    except FileNotFoundError:
        return Settings(options={}, gates=())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{FILE}: tool.smoltrace is no table")
    known = {option.name: option for option in OPTIONS if option.name not in _NOT_HERE}
    texts = {}
    for key, value in table.items():
        if key == GATES:
            continue
        if key not in known:
            raise ConfigError(_unknown(key, (*known, GATES)))
        texts[key] = _texts(key, value, repeats=known[key].repeats)
    return Settings(options=texts, gates=tuple(_gates(table.get(GATES, {}))))


def _unknown(key: str, known: tuple[str, ...]) -> str:
    if key in ("model", "hosts"):
        return f"{FILE}: {TABLE} cannot set {key}; give --smoltrace-{key} or the ini key"
    if key == "gate":
        return f"{FILE}: {TABLE} has no key 'gate'; gates stand in [tool.smoltrace.gates]"
    return f"{FILE}: {TABLE} has no key {key!r}{did_you_mean(key, known)}"


def _texts(key: str, value: Any, *, repeats: bool) -> str | list[str]:
    """Return a value as it would be typed."""
    if repeats:
        found = value if isinstance(value, list) else [value]
        return [_text(key, item) for item in found]
    return _text(key, value)


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"{FILE}: {TABLE} {key} is {value!r}, not a text, a number or a switch")


def _gates(table: Any) -> Iterator[GateSpec]:
    """Yield the gates in the order of the file."""
    if not isinstance(table, dict):
        raise ConfigError(f'{FILE}: [tool.smoltrace.gates] is no table; write name = "EXPRESSION"')
    for name, value in table.items():
        place = f"{FILE}: tool.smoltrace.gates.{name}"
        if isinstance(value, str):
            yield GateSpec(name=name, text=value, place=place)
            continue
        if not isinstance(value, dict) or not isinstance(value.get("expr"), str):
            example = '{ expr = "p95(latency) <= 2s", level = "warn" }'
            raise ConfigError(f"{place} is no expression; write it as text, or as {example}")
        for key in value:
            if key not in _GATE_KEYS:
                raise ConfigError(f"{place} has no key {key!r}{did_you_mean(key, _GATE_KEYS)}")
        yield GateSpec(
            name=name,
            text=value["expr"],
            place=place,
            level=_level(place, value.get("level")),
            min_n=_min_n(place, value.get("min_n")),
        )


def _level(place: str, value: Any) -> str | None:
    if value is None:
        return None
    if value in ("fail", "warn"):
        return str(value)
    raise ConfigError(f"{place}.level is {value!r}, not fail or warn")


def _min_n(place: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ConfigError(f"{place}.min_n is {value!r}, not a whole number from 1")
