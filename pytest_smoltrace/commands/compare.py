"""`pytest-smoltrace compare`: two stored sessions, paired by case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_smoltrace.command import Command, directory_argument
from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pytest_smoltrace.commands.comparison_report import Compared
    from pytest_smoltrace.measured.session import MeasuredSession


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("baseline", metavar="A", help="the baseline: run id, last, directory, ...")
    parser.add_argument("candidate", metavar="B", help="what is compared with it")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell all changed cases")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--margin", default="5pp", metavar="POINTS", help="drop that is tolerated (5pp)"
    )
    parser.add_argument(
        "--allow-mismatch",
        action="append",
        default=[],
        metavar="WHAT",
        help="difference that does not matter: suite, model, agent_type, settings, replay, "
        "hardware; repeatable, or joined by commas",
    )
    parser.add_argument(
        "--fail-on-regression", action="store_true", help="exit with 1 when a success rate fell"
    )
    directory_argument(parser)


def _run(args: argparse.Namespace) -> int:
    from pytest_smoltrace.commands.comparison_report import as_json, compared, report_lines

    found = compared(
        _session(args.candidate, args),
        _session(args.baseline, args),
        margin=_margin(args.margin),
        allow=frozenset(_allowed(args.allow_mismatch)),
    )
    lines = [as_json(found)] if args.json else report_lines(found, verbose=args.verbose)
    for line in lines:
        print(line)
    return 1 if args.fail_on_regression and _fell(found) else 0


def _session(reference: str, args: argparse.Namespace) -> MeasuredSession:
    from pytest_smoltrace.baselines.reference import find

    found = find(reference, directory=args.dir, rootdir=Path.cwd())
    if found.session is None:
        raise ConfigError(f"{reference}: {found.missing}")
    return found.session


def _margin(text: str) -> float:
    from pytest_smoltrace.option_values import points

    try:
        return points(text)
    except ConfigError as error:
        raise ConfigError(f"--margin: {error}") from None


def _allowed(given: list[str]) -> Iterator[str]:
    from pytest_smoltrace.option_values import mismatch

    for word in ",".join(given).split(",") if given else ():
        try:
            yield mismatch(word.strip())
        except ConfigError as error:
            raise ConfigError(f"--allow-mismatch: {error}") from None


def _fell(found: Compared) -> bool:
    return any(pair.verdict == "REGRESSION" for pair in found.pairs)


COMPARE = Command(
    name="compare",
    help="compare two stored runs case by case: A is the baseline, B what is compared with it",
    arguments=_arguments,
    run=_run,
)
