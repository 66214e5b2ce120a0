"""How often a case is run: each trial is an item of its own, copies of pytest-repeat included."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.marker import MARKER, TRIAL, VARIANT, marked

REPEAT = "__pytest_repeat_step_number"
"""Parameter of pytest-repeat: 0-based number of the copy, with ids such as `1-3`."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """Value of the plugin's trial parameter; pytest orders by it."""

    index: int
    count: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Which repetition of its case an item is."""

    index: int
    """0-based, copies of pytest-repeat counted."""
    count: int
    params: str
    """The item's parameter ids without those of model, agent type and repetition."""


def generate(metafunc: pytest.Metafunc, asked: int | None) -> None:
    """Turn one test function into as many trials as its marker or the option asks for."""
    count = _wanted(metafunc.definition, asked)
    if count == 1:
        return
    if TRIAL not in metafunc.fixturenames:
        metafunc.fixturenames.append(TRIAL)
    rows = [Repetition(index, count) for index in range(count)]
    names = [f"t{index}" for index in range(count)]
    # pytest puts items of one parameter of the session side by side: all cases run once before
    # any runs twice, so that a stopped session has whole trials of its suite.
    metafunc.parametrize(TRIAL, rows, ids=names, indirect=True, scope="session")


def trial_of(item: pytest.Item) -> Trial:
    """Return which repetition the item is, and the ids of the user's own parameters."""
    callspec: Any = getattr(item, "callspec", None)
    if callspec is None:
        return Trial(index=0, count=1, params="")
    params, ids = callspec.params, list(callspec._idlist)  # noqa: SLF001 - not public one by one
    # `generate` runs after everybody else's parametrization, so the plugin's ids are the last.
    ids = ids[: len(ids) - (VARIANT in params) - (TRIAL in params)]
    own = params.get(TRIAL, Repetition(0, 1))
    copies = _copies(ids, params[REPEAT]) if REPEAT in params else 1
    index = own.index * copies + params.get(REPEAT, 0)
    return Trial(index=index, count=own.count * copies, params="-".join(ids))


def check_trials(item: pytest.Item, asked: int | None) -> None:
    """Refuse trials that the item was not turned into; warn where only the option asks for them.

    Raises:
        ConfigError: The marker asks for trials where pytest cannot make them.
    """
    callspec: Any = getattr(item, "callspec", None)
    made = callspec.params[TRIAL].count if callspec and TRIAL in callspec.params else 1
    wanted = _wanted(item, asked)
    if made == wanted:
        return
    if "trials" in marked(item):
        raise ConfigError(
            f"{item.nodeid}: @pytest.mark.smoltrace(trials={wanted}) is not possible here; mark "
            "the test function, its class or its module (a parameter set and a hook come too "
            "late, and methods of unittest.TestCase cannot be parametrized)"
        )
    _warn(item, f"{item.nodeid} runs once, not {wanted} times: it cannot be parametrized")


def _warn(item: pytest.Item, message: str) -> None:
    try:
        item.warn(pytest.PytestWarning(f"smoltrace: {message}"))
    except pytest.PytestWarning as error:  # where warnings are errors
        raise ConfigError(str(error)) from None


def _wanted(node: Any, asked: int | None) -> int:
    """Return the trials of a test; 1 where the marker is wrong, which is refused elsewhere."""
    trials: int = marked(node).get("trials", asked or 1)
    return trials if MARKER["trials"].accepts(trials) else 1


def _copies(ids: list[str], step: int) -> int:
    """Take the id that pytest-repeat made out of the ids; return how many copies it tells of."""
    for place in range(len(ids) - 1, -1, -1):
        found = re.fullmatch(rf"{step + 1}-(\d+)", ids[place])
        if found:
            del ids[place]
            return int(found[1])
    return step + 1  # another version with other ids: at least as many as this one's number
