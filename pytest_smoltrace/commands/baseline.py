"""`pytest-smoltrace baseline`: saves, replaces, lists and removes baselines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_smoltrace.command import PROG, Command, directory_argument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from pytest_smoltrace.baselines.saved import Saved
    from pytest_smoltrace.baselines.trust import Trust

_RUN_HELP = "a run directory, an id, or last (the newest finished run, the default)"
_OUTPUT_HELP = "write the summary alone to FILE.json, to be kept in git"
_HEAD = (
    *("baseline", "model", "agent", "passed", "95 % interval", "cases", "started (UTC)", "run"),
    "hardware",
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(
        name: str, text: str, perform: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
        sub.set_defaults(perform=perform)
        directory_argument(sub)
        return sub

    save = action("save", "keep a run as the baseline of a new name", _save)
    save.add_argument("name", metavar="NAME")
    save.add_argument("run_dir", metavar="RUN", nargs="?", help=_RUN_HELP)
    save.add_argument("--output", metavar="FILE.json", type=Path, help=_OUTPUT_HELP)
    promote = action("promote", "let a run replace a baseline, if it may be trusted", _promote)
    promote.add_argument("run_dir", metavar="RUN", nargs="?", help=_RUN_HELP)
    promote.add_argument("name", metavar="NAME", nargs="?", default="main", help="main by default")
    promote.add_argument("--output", metavar="FILE.json", type=Path, help=_OUTPUT_HELP)
    promote.add_argument("--force", action="store_true", help="whatever speaks against it")
    action("list", "list the saved baselines", _list)
    action("remove", "remove a saved baseline", _remove).add_argument("name", metavar="NAME")


def _perform(args: argparse.Namespace) -> int:
    code: int = args.perform(args)
    return code


def _save(args: argparse.Namespace) -> int:
    from pytest_smoltrace.baselines.store import run_to_save, save, write_summary

    run = run_to_save(args.run_dir, args.dir)
    if args.output is None:
        print(f"{run.name} is saved as {save(run, args.name, args.dir)}")
    else:
        write_summary(run, args.output, args.name)
        print(f"{run.name} is saved as {args.output}")
    return 0


def _promote(args: argparse.Namespace) -> int:
    from pytest_smoltrace.baselines.store import promote, run_to_save, write_summary

    run, place = run_to_save(args.run_dir, args.dir), args.output
    if place is None:
        place, found = promote(run, args.name, args.dir, force=args.force)
    else:
        found = write_summary(run, place, args.name, replace=True, force=args.force)
    _warn(found)
    print(f"{run.name} is the baseline {args.name}: {place}")
    return 0


def _warn(found: Trust) -> None:
    for reason in found.against:
        print(f"{PROG}: warning: forced: {reason}", file=sys.stderr)
    for note in found.notes:
        print(f"{PROG}: warning: {note}", file=sys.stderr)


def _list(args: argparse.Namespace) -> int:
    from pytest_smoltrace.baselines.saved import FOLDER, listed
    from pytest_smoltrace.formats import aligned

    found = list(listed(args.dir))
    rows = list(_rows(each for each in found if each.problem is None))
    for line in aligned((_HEAD, *rows)) if rows else ():
        print(line)
    for each in found:
        if each.problem:
            print(f"{PROG}: warning: baseline {each.name!r}: {each.problem}", file=sys.stderr)
    if not found:
        print(f"no baseline is saved in {args.dir / FOLDER}", file=sys.stderr)
    return 0


def _rows(found: Iterable[Saved]) -> Iterator[tuple[str, ...]]:
    from pytest_smoltrace.formats import UNKNOWN

    for each in found:
        known = each.rate is not None and each.low is not None and each.high is not None
        yield (
            each.name,
            each.model or UNKNOWN,
            each.agent_type or UNKNOWN,
            UNKNOWN if each.rate is None else f"{each.rate:.1f} %",
            f"{each.low:.1f} to {each.high:.1f} %" if known else UNKNOWN,
            UNKNOWN if each.trials is None else f"{each.cases} x {each.trials:.3g}",
            (each.started or UNKNOWN)[:16].replace("T", " "),
            each.session_id or UNKNOWN,
            each.hardware or UNKNOWN,
        )


def _remove(args: argparse.Namespace) -> int:
    from pytest_smoltrace.baselines.store import remove

    print(f"{remove(args.name, args.dir)} is removed")
    return 0


BASELINE = Command(
    name="baseline",
    help="save, promote, list or remove the baselines that runs are compared with",
    arguments=_arguments,
    run=_perform,
)
