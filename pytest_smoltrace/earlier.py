"""The earlier runs that a session builds on: the one that it resumes, the one that divides it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.dist import SessionFacts
    from pytest_smoltrace.resume import Resumption


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What earlier runs decide for a session; nothing where there is none."""

    resumed: Resumption | None = None
    durations: str | None = None
    notes: tuple[str, ...] = field(default=())
    """Lines of the header."""

    def facts(self, new: SessionFacts) -> SessionFacts:
        """Return what holds for every process, as the earlier runs decide it."""
        if self.durations is not None:
            new = replace(new, durations=self.durations)
        if self.resumed is not None:
            new = replace(
                new,
                session_id=self.resumed.header.session_id,
                directory=str(self.resumed.directory),
                done=tuple(self.resumed.done),
            )
        return new


def earlier_runs(config: RunConfig, prices_version: str | None) -> Earlier:
    """Return the earlier runs that the options name.

    Raises:
        ConfigError: One of them cannot be used; says why.
    """
    notes: list[str] = []
    text: str | None = None
    resumed: Resumption | None = None
    if config.shard is not None or config.shard_durations is not None:
        from pytest_smoltrace import durations

        known = durations.load(config)
        if known is not None:
            notes.append(f"smoltrace: {known.line}")
            text = known.text
    if config.resume is not None:
        from pytest_smoltrace import resume

        resumed = resume.load(config, prices_version)
        notes.append(resumed.line)
    return Earlier(resumed=resumed, durations=text, notes=tuple(notes))
