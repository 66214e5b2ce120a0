"""Which run of a baseline a run is compared with, and what keeps their figures apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_smoltrace.baselines.demands import changed_cases
from pytest_smoltrace.baselines.match import Match, Mismatch
from pytest_smoltrace.sameness import setting_differences

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from pytest_smoltrace.measured.session import MeasuredRun, MeasuredSession

_OF_THE_RUN = frozenset({"model", "agent_type", "provider"})
"""Options that name the runs of a session, which are compared run by run."""
_LABELS = frozenset({
    "hide_content", "suite_version", "use_case", "team", "purpose", "gpu_bindings",
})  # fmt: skip
"""Options and facts that no figure depends on."""
_LIMITS = frozenset({"case_timeout", "request_timeout", "tool_timeout", "max_retries"})
"""Options that end what takes too long: who changes one wants to see what comes of it."""
_OF_TIMING = frozenset({"stream"})
"""Options that only figures of time depend on."""
_OF_ELECTRICITY = frozenset({"country", "carbon_intensity", "power_price", "pue"})
"""Options that only what is computed from energy depends on."""
_LIVE = "live"
_RECORDED = "recorded"
_SHOWN = 3
"""Changed cases that are named; the others are counted."""


def match_run(
    run: MeasuredRun,
    session: MeasuredSession,
    baseline: MeasuredSession,
    allow: Collection[str] = (),
) -> Match:
    """Return the run of a baseline that a run is compared with, and what keeps them apart.

    Args:
        run: A run of the candidate.
        session: The candidate.
        baseline: The session that it is compared with.
        allow: Words of `option_values.MISMATCHES` that may differ.
    """
    other = _counterpart(run, baseline, allow)
    if other is None:
        return Match(run=None, mismatches=tuple(_unmatched(run, baseline)))
    changed = _changed(run, session, other, baseline)
    ours, theirs = _config(run, session), _config(other, baseline)
    every = [
        *_identity(run, other),
        *_suite(run, other, changed),
        *_settings(ours, theirs, _is_general),
        *_replay(run, other),
    ]
    timing = [*_hardware(run, other), *_settings(ours, theirs, _OF_TIMING.__contains__)]
    electricity = list(_settings(ours, theirs, _OF_ELECTRICITY.__contains__))
    prices = list(_prices(run, other))
    found = (*every, *timing, *electricity, *prices)
    return Match(
        run=other,
        mismatches=tuple(each for each in every if each.word not in allow),
        timing=tuple(each for each in timing if each.word not in allow),
        electricity=tuple(each for each in electricity if each.word not in allow),
        prices=tuple(each for each in prices if each.word not in allow),
        allowed=tuple(each for each in found if each.word in allow),
        changed=changed,
    )


def _counterpart(
    run: MeasuredRun, baseline: MeasuredSession, allow: Collection[str]
) -> MeasuredRun | None:
    """Return the run of the same model and agent type, or the one that stands in for it."""
    alike = [r for r in baseline.runs if (r.model, r.agent_type) == (run.model, run.agent_type)]
    ranked = [
        alike,
        [r for r in alike if r.row.get("provider") == run.row.get("provider")],
        [r for r in baseline.runs if r.agent_type == run.agent_type] if "model" in allow else [],
        [r for r in baseline.runs if r.model == run.model] if "agent_type" in allow else [],
    ]
    for found in ranked:
        if len(found) == 1:
            return found[0]
    alone = len(baseline.runs) == 1 and not _refused(run, baseline.runs[0], allow)
    return baseline.runs[0] if alone else None


def _refused(run: MeasuredRun, other: MeasuredRun, allow: Collection[str]) -> bool:
    return any(each.word not in allow for each in _identity(run, other))


def _unmatched(run: MeasuredRun, baseline: MeasuredSession) -> Iterator[Mismatch]:
    if not baseline.runs:
        yield Mismatch(word="model", text=f"model (none and {_name(run.model)})")
        return
    same = [other for other in baseline.runs if other.model == run.model]
    if same:
        kinds = ", ".join(_name(other.agent_type) for other in same)
        yield Mismatch(word="agent_type", text=f"agent type ({kinds} and {_name(run.agent_type)})")
        return
    models = ", ".join(dict.fromkeys(_name(other.model) for other in baseline.runs))
    yield Mismatch(word="model", text=f"model ({models} and {_name(run.model)})")
    if all(other.agent_type != run.agent_type for other in baseline.runs):
        kinds = ", ".join(dict.fromkeys(_name(other.agent_type) for other in baseline.runs))
        yield Mismatch(word="agent_type", text=f"agent type ({kinds} and {_name(run.agent_type)})")


def _identity(run: MeasuredRun, other: MeasuredRun) -> Iterator[Mismatch]:
    if run.model != other.model:
        yield Mismatch(word="model", text=_pair("model", other.model, run.model))
    elif _differ(other.row.get("provider"), run.row.get("provider"), unknown=("none",)):
        text = _pair("provider", other.row["provider"], run.row["provider"])
        yield Mismatch(word="model", text=text)
    if run.agent_type != other.agent_type:
        yield Mismatch(
            word="agent_type", text=_pair("agent type", other.agent_type, run.agent_type)
        )


def _changed(
    run: MeasuredRun, session: MeasuredSession, other: MeasuredRun, baseline: MeasuredSession
) -> frozenset[str]:
    """Return the changed cases; suites of one hash have none."""
    ours, theirs = run.row.get("suite_hash"), other.row.get("suite_hash")
    if ours is not None and ours == theirs:
        return frozenset()
    return changed_cases(run, session, other, baseline)


def _suite(run: MeasuredRun, other: MeasuredRun, changed: frozenset[str]) -> Iterator[Mismatch]:
    if changed:
        named = sorted(changed)
        rest = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        text = f"suite (another prompt or expectation in {', '.join(named[:_SHOWN])}{rest})"
        yield Mismatch(word="suite", text=text)
    elif _differ(other.row.get("suite_hash"), run.row.get("suite_hash")) and _case_ids(
        run
    ) == _case_ids(other):
        yield Mismatch(
            word="suite", text="suite (the same cases with other prompts or expectations)"
        )


def _case_ids(run: MeasuredRun) -> frozenset[str]:
    return frozenset(run.attempts["case_id"].to_pylist())


def _settings(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], wanted: Callable[[str], bool]
) -> Iterator[Mismatch]:
    """Yield the wanted options that differ, none where a side is unknown."""
    if ours and theirs:
        kept = (
            {name: value for name, value in config.items() if wanted(name)}
            for config in (theirs, ours)
        )
        for text in setting_differences(*kept):
            yield Mismatch(word="settings", text=text)


def _prices(run: MeasuredRun, other: MeasuredRun) -> Iterator[Mismatch]:
    """Yield the version of the price table where both are known and differ."""
    ours, theirs = (side.row.get("price_table_version") for side in (run, other))
    if _differ(theirs, ours):
        yield Mismatch(word="settings", text=_pair("prices", theirs, ours))


def _is_general(name: str) -> bool:
    """Return whether an option is one that every figure depends on."""
    return name not in _OF_THE_RUN | _LABELS | _LIMITS | _OF_TIMING | _OF_ELECTRICITY


def _config(run: MeasuredRun, session: MeasuredSession) -> Mapping[str, Any]:
    found = run.row.get("config") or session.settings
    return found if isinstance(found, dict) else dict(session.settings)


def _replay(run: MeasuredRun, other: MeasuredRun) -> Iterator[Mismatch]:
    ours, theirs = replay_mode(run), replay_mode(other)
    if _differ(theirs, ours):
        yield Mismatch(word="replay", text=_pair("replay", theirs, ours))


def replay_mode(run: MeasuredRun) -> str | None:
    """Return live, replayed or mixed; a recorded run is live, None is unknown."""
    modes: Iterable[Any] = (run.row.get("replay_mode"),)
    if modes == (None,) and "replay_mode" in run.attempts.column_names:
        modes = run.attempts["replay_mode"].unique().to_pylist()
    found = {_LIVE if mode == _RECORDED else mode for mode in modes if mode is not None}
    if not found:
        return None
    return str(next(iter(found))) if len(found) == 1 else "mixed"


def _hardware(run: MeasuredRun, other: MeasuredRun) -> Iterator[Mismatch]:
    theirs, ours = hardware_class(other), hardware_class(run)
    for name in theirs:
        if name in ours and _differ(theirs[name], ours[name]):
            yield Mismatch(word="hardware", text=_pair(name, theirs[name], ours[name]))


def hardware_class(run: MeasuredRun) -> dict[str, Any]:
    """Return what figures of time and energy depend on, by the name that a person reads."""
    row = run.row
    detail, config = row.get("hardware_detail"), row.get("config")
    base_url = config.get("base_url") if isinstance(config, dict) else None
    found = {
        "hardware": row.get("hardware"),
        "place of the model": row.get("hardware_scope"),
        "GPUs": row.get("gpu_count"),
        "host of the model": urlsplit(base_url).hostname if base_url else None,
    }
    if row.get("hardware_scope") == "model" and not row.get("gpu_count"):
        found["CPU"] = detail.get("cpu_model") if isinstance(detail, dict) else None
    return found


def _differ(one: Any, other: Any, unknown: Collection[Any] = ()) -> bool:
    """Return whether two known values differ."""
    return one != other and not {one, other} & {None, *unknown}


def _pair(name: str, one: Any, other: Any) -> str:
    return f"{name} ({_name(one)} and {_name(other)})"


def _name(value: Any) -> str:
    return "none" if value is None else str(value)
