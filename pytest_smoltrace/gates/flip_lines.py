"""Cases whose rate of success changed, as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_smoltrace.comparing.lines import deltas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_KINDS = {"newly failing": "red", "worse": "yellow", "better": "", "newly passing": "green"}
"""Kind of a change -> its colour, in the order in which they are told."""
_NAMED = 5
_LISTED = 10
_LISTED_VERBOSE = 50


def flip_lines(flips: Sequence[Mapping[str, Any]], *, verbose: int) -> Iterator[tuple[str, str]]:
    """Yield (line, colour) of the cases that changed; under -v with where their traces part."""
    several = len({(flip.get("model"), flip.get("agent_type")) for flip in flips}) > 1
    for kind, colour in _KINDS.items():
        found = [flip for flip in flips if flip["kind"] == kind]
        if not found:
            continue
        if verbose < 1:
            names = (f"{flip['case_id']}{_of(flip) if several else ''}" for flip in found[:_NAMED])
            named = ", ".join(dict.fromkeys(names))
            yield f"{kind}: {named}{_rest(len(found), _NAMED)}", colour
            continue
        most = _LISTED if verbose == 1 else _LISTED_VERBOSE
        yield f"{kind}: {len(found)} case{'' if len(found) == 1 else 's'}", colour
        why = {flip.get("reason") for flip in found}
        alike = next(iter(why)) if len(why) == 1 and len(found) > 1 else None
        for flip in found[:most]:
            yield from ((line, "") for line in _lines(flip, several=several, said=alike is None))
        if len(found) > most:
            yield f"  {_rest(len(found), most).strip()}", ""
        if alike:
            yield f"  not compared step by step: {alike}", ""


def _rest(count: int, shown: int) -> str:
    return f" and {count - shown} more" if count > shown else ""


def _of(flip: Mapping[str, Any]) -> str:
    """Return the run of a case in brackets."""
    of = [str(flip[key]) for key in ("model", "agent_type") if flip.get(key)]
    return f" [{', '.join(of)}]" if of else ""


def _lines(flip: Mapping[str, Any], *, several: bool, said: bool) -> Iterator[str]:
    """Yield which case it is, what it takes more or less, and where its traces part."""
    where = _of(flip) if several else ""
    now, before = flip["candidate"], flip["baseline"]
    error = f", {now['error_type']}" if now.get("error_type") else ""
    rates = f"{now['passed']}/{now['trials']}, was {before['passed']}/{before['trials']}"
    yield f"  {flip['case_id']}{where}  {rates}{error}{deltas(flip)}"
    parted = flip.get("divergence")
    why = parted["text"] if parted else flip.get("reason") if said else None
    if why:
        yield f"    {why}"
