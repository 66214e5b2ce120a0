"""How long the cases of an earlier run took, to balance shards by it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pytest_smoltrace.codec import decode_declared, load_line
from pytest_smoltrace.encoding import dumps
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.journal import JOURNAL_NAME, read_journal
from pytest_smoltrace.run import read_ends
from pytest_smoltrace.sharding import case_key
from pytest_smoltrace.stored_runs import find_run, list_runs

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_smoltrace.config import RunConfig

_UNTIMED = frozenset({"skipped", "interrupted", "crashed"})
"""Outcomes of attempts that did not take as long as the case does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """What balances the shards of a session, and what to say of it."""

    text: str | None
    """JSON object case key -> seconds, the same for every process of the session."""
    line: str
    """How the suite is divided."""


def load(config: RunConfig) -> Durations | None:
    """Return the durations that `--smoltrace-shard-durations` names; None without a shard.

    Raises:
        ConfigError: There is no such run, or it cannot be read.
    """
    shard, name = config.shard, config.shard_durations
    if shard is None and name is not None and config.origins.get("shard_durations") == "flag":
        raise ConfigError("--smoltrace-shard-durations needs --smoltrace-shard=I/N")
    if shard is None:
        return None
    if name is None:
        return Durations(text=None, line=f"shard {shard} by number of cases")
    try:
        directory = _last(config.directory) if name == "last" else find_run(name, config.directory)
        known = durations_of(directory) if directory else {}
    except (ConfigError, JournalError) as error:
        raise ConfigError(f"--smoltrace-shard-durations: {error}") from None
    if directory is None or not known:
        why = f"run {directory.name} timed none" if directory else "no earlier run is stored"
        return Durations(text=None, line=f"shard {shard} by number of cases: {why}")
    return Durations(
        text=dumps(known).decode(),
        line=f"shard {shard}, balanced by {len(known)} duration{'s' * (len(known) != 1)} of run "
        f"{directory.name}",
    )


def durations_of(directory: Path) -> dict[str, float]:
    """Return the median seconds of the test function of each case of a run, by case key."""
    found: dict[str, list[float]] = {}
    for line in read_journal(directory / JOURNAL_NAME):
        if line.kind == "case":
            key, seconds = _timed(line.data)
            if seconds is not None:
                found.setdefault(key, []).append(seconds)
    # Rounded, so that the text stays short.
    return {key: round(median(each), 3) for key, each in sorted(found.items())}


def _last(root: Path) -> Path | None:
    """Return the newest run of a whole suite: the other shards must find the same one."""
    for directory in list_runs(root):
        try:
            header, _ = read_ends(directory)
        except JournalError:
            continue
        if header.shard is None:
            return directory
    return None


def _timed(line: bytes) -> tuple[str, float | None]:
    """Return key and length of the call phase; None when it says nothing of the next run."""
    data = load_line(line, "case")
    try:
        key = case_key(decode_declared(data["declared"]))
        calls = [phase for phase in data["phases"] if phase["when"] == "call"]
        if data["outcome"] in _UNTIMED or not calls:
            return key, None
        return key, (calls[0]["end_mono_ns"] - calls[0]["start_mono_ns"]) / 1e9
    except (TypeError, KeyError) as error:
        raise JournalError(f"a case line is not what this version writes: {error}") from error
