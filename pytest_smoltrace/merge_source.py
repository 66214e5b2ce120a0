"""The runs that are merged: whether they are parts of one, and which cases each of them gives."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.codec import decode_case, encode_case
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.journal import JOURNAL_NAME, read_journal
from pytest_smoltrace.run import load_run
from pytest_smoltrace.sameness import setting_differences, suite_differences
from pytest_smoltrace.sampler.record import FOLDER, SUFFIX

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_smoltrace.facts import Declared
    from pytest_smoltrace.head import Head
    from pytest_smoltrace.run import Run
    from pytest_smoltrace.session_facts import Header

Identity = tuple[str, int | None]
"""Session id and shard."""


@dataclass(slots=True, kw_only=True)
class Source:
    """A run that is merged."""

    run: Run
    """Without its suite: the runs of one suite all have the same."""
    twice: set[str] = field(default_factory=set)
    """Node ids of cases that an earlier source gives."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        return str(self.run.directory)

    @property
    def is_merged(self) -> bool:
        """Whether the run was merged from others itself."""
        return any(part.source is not None for _, part in self.run.parts)

    @property
    def shards(self) -> list[Mapping[str, Any]]:
        """Which parts of the suite it ran; nothing when it ran the whole of it."""
        parts = [part.shard for _, part in self.run.parts if part.source is not None]
        return [shard for shard in (self.run.header.shard, *parts) if shard]

    @property
    def identities(self) -> set[Identity]:
        """Sessions that it holds."""
        merged = {
            (part.source, (part.shard or {}).get("index"))
            for _, part in self.run.parts
            if part.source is not None
        }
        header = self.run.header
        return merged or {(header.session_id, (header.shard or {}).get("index"))}

    @property
    def nodeids(self) -> set[str]:
        """Node ids of the cases that have an attempt."""
        return {head.nodeid for head in self.run.heads()}

    def samples(self) -> list[Path]:
        """Return its files of GPU samples."""
        return sorted((self.run.directory / FOLDER).glob(f"*{SUFFIX}"))

    def lines(self) -> Iterator[bytes]:
        """Yield its cases and further sessions, without the cases that an earlier source gives."""
        heads = iter(self.run.ended)
        spans = b""
        for line in read_journal(self.run.directory / JOURNAL_NAME, self.run.size):
            if line.kind == "session":
                yield line.data
            elif line.kind == "case":
                head = next(heads)
                if head.nodeid not in self.twice:
                    yield spans or self._root(line.data, head)
                    yield line.data
            spans = line.data if line.kind == "spans" else b""
        for record in self.run.cut_short():
            if record.declared.nodeid not in self.twice:
                yield encode_case(replace(record, spans=self.run.root_of(record))).encode()

    def _root(self, case: bytes, head: Head) -> bytes:
        """Return the spans line of a case without one.

        When an attempt without any phase took place is known from its own journal alone.
        """
        record = decode_case(case, attempt=head.attempt)
        table = self.run.root_of(record)
        return encode_case(replace(record, spans=table)).encode().partition(b"\n")[0]

    def digests(self, nodeids: Collection[str]) -> dict[str, bytes]:
        """Return a hash of the attempts of each of these cases."""
        found = {nodeid: hashlib.sha256() for nodeid in nodeids}
        heads = iter(self.run.ended)
        for line in read_journal(self.run.directory / JOURNAL_NAME, self.run.size):
            if line.kind == "case" and (head := next(heads)).nodeid in found:
                found[head.nodeid].update(line.data.rstrip(b"\n") + b"\n")
        for record in self.run.cut_short():
            if record.declared.nodeid in found:
                found[record.declared.nodeid].update(encode_case(record).encode() + b"\n")
        return {nodeid: digest.digest() for nodeid, digest in found.items()}


def read_sources(directories: Sequence[Path]) -> tuple[tuple[Declared, ...], list[Source]]:
    """Return the suite and the runs that are parts of it, in the order of their shards.

    Raises:
        ConfigError: They are not; names two runs and what differs.
    """
    suite: tuple[Declared, ...] = ()
    planned: Source | None = None
    sources: list[Source] = []
    for directory in directories:
        run = _load(directory)
        source = Source(run=_without_suite(run))
        if sources:
            _check_settings(sources[0], source)
        # A session that was killed at its start has no plan.
        if run.suite and planned is None:
            suite, planned = run.suite, source
        elif run.suite and planned is not None:
            _check_suite(planned, source, suite, run.suite)
        sources.append(source)
    _check_division(sources)
    sources.sort(key=lambda one: (_first_shard(one), one.run.header.started_unix_ns, one.name))
    return suite, _each_once(sources)


def _refuse_running(directory: Path) -> None:
    """Check that no session writes the run; what it still has to do would count as lost."""
    if sys.platform == "win32":
        return
    try:
        with (directory / JOURNAL_NAME).open("rb") as journal:
            fcntl.flock(journal, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"{directory} still runs; merge it when it has ended") from None
    except OSError:
        return  # it cannot be read, which is said elsewhere, or a file system has no locks


def _load(directory: Path) -> Run:
    _refuse_running(directory)
    try:
        return load_run(directory)
    except JournalError as error:
        where = "" if str(directory) in str(error) else f"{directory}: "
        raise JournalError(f"{where}{error}") from None


def _without_suite(run: Run) -> Run:
    """Return the run with the planned cases alone that were in flight: memory is for few plans."""
    running = {opened.nodeid for opened in run.unfinished}
    return replace(
        run, suite=(), planned=tuple(case for case in run.planned if case.nodeid in running)
    )


def _first_shard(source: Source) -> int:
    return min((shard["index"] for shard in source.shards), default=0)


def _check_settings(first: Source, other: Source) -> None:
    one, two = first.run.header, other.run.header
    found = setting_differences(one.config, two.config)
    for name, first_value, value in (
        ("major version of pytest-smoltrace", _major(one), _major(two)),
        ("prices", one.prices_version, two.prices_version),
    ):
        if first_value != value:
            found.append(f"{name} ({first_value or 'unset'} and {value or 'unset'})")
    if found:
        raise ConfigError(
            f"{first.name} and {other.name} are not parts of one run: they differ in "
            f"{', '.join(found)}"
        )


def _major(header: Header) -> str:
    return header.plugin_version.partition(".")[0]


def _check_suite(
    first: Source, other: Source, suite: Sequence[Declared], another: Sequence[Declared]
) -> None:
    if suite == another:
        return
    found = suite_differences(suite, another, (first.name, other.name))
    if found:
        raise ConfigError(
            f"{first.name} and {other.name} are not parts of one run: they had other suites: "
            f"{'; '.join(found)}"
        )


def _check_division(sources: Iterable[Source]) -> None:
    known = [(source.name, shard) for source in sources for shard in source.shards]
    # A session that was killed at its start has no division.
    divided = [(name, shard) for name, shard in known if shard.get("division")]
    for name, shard in known:
        first, one = known[0]
        if shard["count"] != one["count"]:
            raise ConfigError(
                f"{first} is shard {_part(one)} and {name} is shard {_part(shard)}: give the "
                "shards of one division"
            )
    for name, shard in divided:
        first, one = divided[0]
        if shard["division"] != one["division"]:
            raise ConfigError(
                f"shards {_part(one)} ({first}) and {_part(shard)} ({name}) were divided by "
                "other durations: give all sessions the same --smoltrace-shard-durations"
            )


def _part(shard: Mapping[str, Any]) -> str:
    return f"{shard['index']}/{shard['count']}"


def _each_once(sources: Iterable[Source]) -> list[Source]:
    """Leave out what was given twice.

    Raises:
        ConfigError: Two runs have results of their own for a case.
    """
    kept: list[Source] = []
    owner: dict[str, Source] = {}
    for source in sources:
        nodeids = source.nodeids
        source.twice = nodeids & owner.keys()
        for first in {id(owner[nodeid]): owner[nodeid] for nodeid in source.twice}.values():
            shared = [nodeid for nodeid in source.twice if owner[nodeid] is first]
            _check_same(first, source, sorted(shared))
        held = set().union(*(one.identities for one in kept))
        if not (nodeids == source.twice and source.identities <= held):
            kept.append(source)
            owner |= dict.fromkeys(nodeids - source.twice, source)
    return kept


def _check_same(first: Source, other: Source, nodeids: Sequence[str]) -> None:
    one, two = first.digests(nodeids), other.digests(nodeids)
    differing = [nodeid for nodeid in nodeids if one[nodeid] != two[nodeid]]
    if not differing:
        return
    more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
    where = [_part(shard) for shard in other.shards if shard in first.shards]
    if where:
        advice = f"both hold shard {where[0]}: give one of them"
    elif not (first.shards or other.shards):
        advice = "merge joins the shards of one run, not runs of a whole suite"
    else:
        advice = "give one run of each case"
    raise ConfigError(
        f"{first.name} and {other.name} both ran {differing[0]}{more}, and not with one result; "
        f"{advice}"
    )
