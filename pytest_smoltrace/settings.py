"""Effective values of options, and what groups of them come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.config import GateSpec, Judging
from pytest_smoltrace.electricity import DEFAULT_USD_PER_KWH, Electricity
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.option_values import points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pytest_smoltrace.option_table import Option

    Source = tuple[str, str, Any]
    """Origin, place and what is typed there, None for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The effective value of one option."""

    value: Any
    typed: Any
    """The value before it was parsed."""
    origin: str
    """flag, environment, ini or default."""
    place: str
    """What the user would look for: the flag, the variable or the ini key."""


def checked(parse: Callable[[str], Any], place: str, typed: str) -> Any:
    """Parse one text and name its place when it is wrong."""
    if not typed.strip():
        raise ConfigError(f"{place} is empty; give it a value or leave it out")
    try:
        return parse(typed.strip())
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


def split_variable(option: Option, text: str) -> str | list[str] | None:
    """Return what an environment variable says, a list of a repeatable option; None of nothing."""
    text = text.strip()
    if not option.repeats:
        return text or None
    for separator in option.separators:
        text = text.replace(separator, "\n")
    return [piece.strip() for piece in text.split("\n") if piece.strip()] or None


def given(option: Option, sources: Iterable[Source]) -> Iterator[Setting]:
    """Yield what an option is set to, in the order of the sources."""
    for origin, place, typed in sources:
        if typed is not None:
            value = _parsed(option, place, typed)
            yield Setting(value=value, typed=typed, origin=origin, place=place)


def effective(option: Option, sources: Iterable[Source], place: str) -> Setting:
    """Return what the first of the sources that is set says, else the default."""
    default = () if option.repeats else option.default
    unset = Setting(value=default, typed=default, origin="default", place=place)
    return next(given(option, sources), unset)


def _parsed(option: Option, place: str, typed: Any) -> Any:
    """Return the parsed value; switches of the command line need no parsing."""
    if isinstance(typed, bool):
        return typed
    if option.repeats:
        return tuple(checked(option.parse, place, item) for item in typed)
    return checked(option.parse, place, typed)


def judging(values: Mapping[str, Any], gates: tuple[GateSpec, ...]) -> Judging:
    """Return how the run is judged."""
    margin = values["margin"]
    return Judging(
        gates=gates,
        enabled=values["gates"],
        margin=points(margin) if isinstance(margin, str) else margin,
        **{name: values[name] for name in _OF_JUDGING},
    )


_OF_JUDGING = (
    *("gate_only", "baseline", "baseline_missing", "power", "inconclusive", "allow_mismatch"),
    "ci",
)


def gates_of(sources: Iterable[Setting], table: Iterable[GateSpec]) -> Iterator[GateSpec]:
    """Yield the gates of all places; one replaces the one of its name in a weaker place.

    Args:
        sources: Settings of the option, the strongest first.
        table: Gates of pyproject.toml, the weakest.
    """
    found = {gate.name or gate.text: gate for gate in table}
    for source in reversed([*sources]):
        found |= _named(source)
    yield from found.values()


def _named(source: Setting) -> dict[str, GateSpec]:
    """Return the gates of one place by name, in their order.

    Raises:
        ConfigError: Two of them have one name.
    """
    from pytest_smoltrace.gates.grammar import split_name

    found: dict[str, GateSpec] = {}
    for text in source.value:
        name, expression = split_name(text)
        spec = GateSpec(name=name, text=expression, place=source.place)
        key = name or _called(expression)
        if key in found:
            raise ConfigError(f"{source.place}: {key!r} is given twice; name gates as NAME=EXPR")
        found[key] = spec
    return found


def _called(expression: str) -> str:
    """Return the name of a gate without one; of a wrong one its text, which is refused later."""
    from pytest_smoltrace.gates.grammar import parse

    try:
        return parse(expression).name
    except ConfigError:
        return expression


def electricity(found: Mapping[str, Setting]) -> Electricity:
    """Return what a kilowatt-hour emits and costs; unknown countries are refused."""
    price, pue = found["power_price"].value, found["pue"].value
    decided = Electricity(
        price_usd_per_kwh=DEFAULT_USD_PER_KWH if price is None else price, pue=pue
    )
    country, grams = found["country"], found["carbon_intensity"].value
    if country.value is not None:
        from pytest_smoltrace.carbon import of_country

        row = checked(of_country, country.place, country.value)
        decided = replace(
            decided, carbon_g_per_kwh=row.g_per_kwh, source=row.source, country=row.iso3
        )
    return decided if grams is None else replace(decided, carbon_g_per_kwh=grams, source="option")
