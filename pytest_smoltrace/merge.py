"""Joins the runs of a suite's shards: from run directories to one run directory.

The cases are copied as the bytes that their journals hold; what a killed session was running is
written out. What says that a case started is left out: each of them has ended.
"""

from __future__ import annotations

import shutil
import uuid
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

from pytest_smoltrace.codec import FORMAT, Plan, encode_line, fields_of, plan_data
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.journal import JOURNAL_NAME, PLAN_CASES
from pytest_smoltrace.merge_source import Source, read_sources
from pytest_smoltrace.sameness import MAY_DIFFER, environment_differences
from pytest_smoltrace.sampler.record import FOLDER
from pytest_smoltrace.session_facts import Footer, Header, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_smoltrace.facts import Declared

MISSING = "error: no run of shard"
"""How the stop reason of a merged run begins that lacks shards."""

_PER_SHARD = frozenset({"run_id", "resume", "shard", "shard_durations"})
"""Options that name a part of the run."""
_OF_THE_FIRST = frozenset({"dir"})
"""Options that may differ and say nothing of the cases."""
_REASONS = ("completed", "maxfail", "budget", "deadline", "interrupted", "error", "crash")
"""Stop reasons, the worst last."""
_NO_TESTS = 5
_FAILED = 1
_STATUSES = (_NO_TESTS, 0, _FAILED, 2, 4, 3)
"""Exit codes of pytest, the worst last: a shard may have no case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A run directory that holds the cases of several."""

    directory: Path
    account: str
    """How many shards and cases it holds."""
    warnings: tuple[str, ...]
    """What is missing or differs, one line each."""


def merge(directories: Sequence[Path], out: Path, session_id: str | None = None) -> Merged:
    """Write the journal of `out` from those of other runs, each case once.

    Raises:
        ConfigError: They are not parts of one run, or `out` is in use; says what and where.
        JournalError: A journal cannot be read or written.
    """
    _refuse_used(out)
    suite, sources = read_sources(directories)
    missing = _missing(suite, sources)
    lines = _lines(suite, sources, missing, session_id)
    try:
        _write(out, sources, lines)
    except OSError as error:
        raise JournalError(f"cannot write {out}: {error.strerror or error}") from error
    return Merged(
        directory=out,
        account=_account(suite, sources),
        warnings=tuple(_warnings(suite, sources, missing)),
    )


def _refuse_used(out: Path) -> None:
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise ConfigError(f"{out} exists already; name a new directory with -o")


def _write(out: Path, sources: Iterable[Source], lines: Iterable[bytes]) -> None:
    """Write samples and journal; nothing of the journal is there before all of it is."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"{JOURNAL_NAME}.part"
    try:
        with part.open("xb", buffering=1 << 20) as stream:
            _put(stream, lines)
        _copy_samples(sources, out)
        part.rename(out / JOURNAL_NAME)
    except BaseException:
        part.unlink(missing_ok=True)
        shutil.rmtree(out / FOLDER, ignore_errors=True)
        out.rmdir()
        raise


def _copy_samples(sources: Iterable[Source], out: Path) -> None:
    """Copy the samples of GPUs; of one name, which a session gives once, there is one file."""
    files = {path.name: path for source in sources for path in source.samples()}
    for name, path in files.items():
        (out / FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(path, out / FOLDER / name)


def _put(stream: BinaryIO, lines: Iterable[bytes]) -> None:
    for line in lines:
        stream.write(line)
        if not line.endswith(b"\n"):
            stream.write(b"\n")


def _lines(
    suite: Sequence[Declared],
    sources: Sequence[Source],
    missing: Sequence[int],
    session_id: str | None,
) -> Iterator[bytes]:
    yield encode_line("header", {"format": FORMAT} | fields_of(_header(sources, session_id)))
    for start in range(0, max(len(suite), 1), PLAN_CASES):
        yield encode_line("plan", plan_data(Plan(tuple(suite[start : start + PLAN_CASES]))))
    for source in sources:
        if not source.is_merged:
            yield encode_line("session", fields_of(_part(source)))
        yield from source.lines()
    yield encode_line("end", fields_of(_footer(sources, missing)))


def _header(sources: Sequence[Source], session_id: str | None) -> Header:
    headers = [source.run.header for source in sources]
    first, ids = headers[0], {header.session_id for header in headers}
    common = first.session_id if len(ids) == 1 else str(uuid.uuid4())
    return Header(
        session_id=session_id or common,
        started_unix_ns=min(header.started_unix_ns for header in headers),
        plugin_version=first.plugin_version,
        config=_config([header.config for header in headers]),
        environment=first.environment,
        prices_version=first.prices_version,
        service_name=first.service_name,
        electricity=next((one.electricity for one in headers if one.electricity), {}),
        workers=sum(header.workers for header in headers),
    )


def _config(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options of all sources; where they may and do differ, none."""
    unknown = {name for name in MAY_DIFFER - _OF_THE_FIRST if _differs(name, configs)}
    left_out = unknown | _PER_SHARD
    return {name: None if name in left_out else value for name, value in configs[0].items()}


def _differs(name: str, configs: Sequence[Mapping[str, Any]]) -> bool:
    return any(one.get(name) != other.get(name) for one, other in pairwise(configs))


def _part(source: Source) -> Part:
    header = source.run.header
    return Part(
        started_unix_ns=header.started_unix_ns,
        plugin_version=header.plugin_version,
        environment=header.environment,
        workers=header.workers,
        source=header.session_id,
        shard=header.shard,
        bindings=header.bindings,
    )


def _footer(sources: Sequence[Source], missing: Sequence[int]) -> Footer:
    footers = [source.run.footer for source in sources]
    reasons = [_reason(footer) for footer in footers]
    reason = max(reasons, key=_gravity)
    if missing and reason == "completed":
        reason = f"{MISSING} {_parts(sources, missing)}"
    statuses = [footer.exit_status if footer else _FAILED for footer in footers]
    not_applied: dict[str, dict[str, str]] = defaultdict(dict)
    for footer in footers:
        for model, settings in footer.not_applied.items() if footer else ():
            not_applied[model].update(settings)
    return Footer(
        ended_unix_ns=max(source.run.last_unix_ns for source in sources),
        stop_reason=reason,
        exit_status=max(statuses, key=_severity),
        not_applied=not_applied,
    )


def _gravity(reason: str) -> int:
    kind = reason.partition(":")[0]
    return _REASONS.index(kind) if kind in _REASONS else len(_REASONS)


def _severity(status: int) -> int:
    return _STATUSES.index(status) if status in _STATUSES else len(_STATUSES)


def _reason(footer: Footer | None) -> str:
    if footer is None:
        return "crash"
    # That shards were missing of a merged run says nothing of those that were not.
    return "completed" if footer.stop_reason.startswith(MISSING) else footer.stop_reason


def _missing(suite: Sequence[Declared], sources: Iterable[Source]) -> list[int]:
    """Return the shards that no source has; a shard without a case leaves no run."""
    shards = list(chain.from_iterable(source.shards for source in sources))
    if not shards or not _left(suite, sources):
        return []
    return sorted({*range(1, shards[0]["count"] + 1)} - {shard["index"] for shard in shards})


def _parts(sources: Sequence[Source], missing: Iterable[int]) -> str:
    (count,) = {shard["count"] for source in sources for shard in source.shards}
    return ", ".join(f"{index}/{count}" for index in missing)


def _account(suite: Sequence[Declared], sources: Sequence[Source]) -> str:
    shards = {shard["index"] for source in sources for shard in source.shards}
    number, what = (len(shards), "shard") if shards else (len(sources), "run")
    done = len(suite) - _left(suite, sources)
    return f"{number} {what}{'s' * (number != 1)}, {done} of {len(suite)} cases"


def _left(suite: Iterable[Declared], sources: Iterable[Source]) -> int:
    """Return how many cases have no attempt."""
    found = {nodeid for source in sources for nodeid in source.nodeids}
    return sum(1 for case in suite if case.nodeid not in found)


def _warnings(
    suite: Sequence[Declared], sources: Sequence[Source], missing: Sequence[int]
) -> Iterator[str]:
    first = sources[0]
    for source in sources:
        yield from source.run.warnings
        found = environment_differences(first.run.header.environment, source.run.header.environment)
        if found:
            yield f"{first.name} and {source.name} ran with other versions: {', '.join(found)}"
    left = _left(suite, sources)
    if missing:
        which = f"shard{'s' * (len(missing) > 1)} {_parts(sources, missing)}"
        yield f"no run of {which} was given; {left} of {len(suite)} cases did not run"
    elif left:
        yield f"{left} of {len(suite)} cases did not run"
