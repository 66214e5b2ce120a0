"""The command `pytest-smoltrace`: works on stored runs, never on pytest."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_smoltrace import __version__
from pytest_smoltrace.command import PROG, Command, directory_argument
from pytest_smoltrace.commands.baseline import BASELINE
from pytest_smoltrace.commands.compare import COMPARE
from pytest_smoltrace.commands.gate import GATE
from pytest_smoltrace.errors import ConfigError, JournalError, SmoltraceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from pytest_smoltrace.pipeline import Outcome

_SHELL_SIGNAL = 128
"""What a shell adds to the number of the signal that ended a command."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROG}: error: {message} (see {self.prog} --help)\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 is success, 1 a run that cannot be used, 2 a wrong request.

    Stopped by Ctrl-C it is 130, by SIGTERM 143, as the shell names them.
    """
    args = _parser().parse_args(argv)
    try:
        with _terminable():
            code: int = args.run(args)
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        signum = next(iter(stop.args), signal.SIGINT)
        name = "Ctrl-C" if signum == signal.SIGINT else "SIGTERM"
        print(f"{PROG}: stopped by {name}", file=sys.stderr)
        return _SHELL_SIGNAL + int(signum)
    except BrokenPipeError:
        # The reader of a pipe left; a second flush at exit would complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SmoltraceError as error:
        print(f"{PROG}: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return code


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a command in order, unless somebody has a handler of their own."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signum)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROG, description="Work on stored runs of pytest-smoltrace.")
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.help, description=command.help)
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", help="a run directory, an id, or 'last'")
    directory_argument(parser)


def _build(args: argparse.Namespace) -> int:
    from pytest_smoltrace.pipeline import finish
    from pytest_smoltrace.stored_runs import find_run

    _say(finish(find_run(args.run_dir, args.dir)))
    return 0


def _say(outcome: Outcome) -> None:
    """Name the datasets of a run on standard output, what it lacks on standard error."""
    for warning in outcome.warnings:
        print(f"{PROG}: warning: {warning}", file=sys.stderr)
    for folder in outcome.datasets.values():
        print(folder)


def _merge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_dirs", metavar="RUN_DIR", nargs="+", help="a run directory, an id, or 'last'"
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", type=Path, required=True, help="a new run directory"
    )
    parser.add_argument("--run-id", metavar="ID", help="id of the joined run")
    directory_argument(parser)


def _merge(args: argparse.Namespace) -> int:
    from pytest_smoltrace.journal import run_directory
    from pytest_smoltrace.merge import merge
    from pytest_smoltrace.pipeline import finish
    from pytest_smoltrace.stored_runs import find_run

    if args.run_id is not None:
        run_directory(args.dir, args.run_id)  # checks the id
    runs = [find_run(name, args.dir) for name in args.run_dirs]
    merged = merge(runs, args.output, args.run_id)
    for warning in merged.warnings:
        print(f"{PROG}: warning: {warning}", file=sys.stderr)
    _say(finish(merged.directory))
    print(merged.account)
    return 0


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_dir", metavar="RUN", nargs="?", help="a run directory, an id, or 'last'; none: a list"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say more")
    directory_argument(parser)


def _show(args: argparse.Namespace) -> int:
    from pytest_smoltrace.stored_runs import find_run, list_runs

    if args.run_dir is None:
        found = list_runs(args.dir)
        for directory in found:
            print(_listed(directory))
        if not found:
            print(f"no run in {args.dir}", file=sys.stderr)
        return 0
    from pytest_smoltrace.terminal import summary_lines

    summary = _summary(find_run(args.run_dir, args.dir))
    for line in summary_lines(summary, verbose=args.verbose):
        print(line)
    if summary.get("gates"):
        from pytest_smoltrace.gates.lines import verdict_lines

        for line, _ in verdict_lines(summary["gates"], verbose=int(args.verbose)):
            print(line)
    return 0


def _summary(directory: Path) -> dict[str, Any]:
    """Return the stored summary of a run."""
    path = directory / "summary.json"
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise JournalError(
            f"{directory} has no summary; make it with: {PROG} build {directory}"
        ) from error
    except (OSError, ValueError) as error:
        raise JournalError(
            f"cannot read {path}: {error}; make it again with: {PROG} build {directory}"
        ) from error
    if not isinstance(found, dict):
        raise JournalError(f"{path} is not a summary; make it again with: {PROG} build {directory}")
    return found


def _listed(directory: Path) -> str:
    """Return one line of the list: id, start, how it ended."""
    from pytest_smoltrace.run import read_ends

    try:
        header, footer = read_ends(directory)
    except JournalError as error:
        return f"{directory.name}  unreadable: {error}"
    started = dt.datetime.fromtimestamp(header.started_unix_ns // 10**9, dt.UTC)
    ended = footer.stop_reason if footer else "killed or still running"
    built = "" if (directory / "summary.json").is_file() else ", no datasets yet"
    return f"{directory.name}  {started:%Y-%m-%d %H:%M:%S} UTC  {ended}{built}"


COMMANDS = (
    Command(
        name="build",
        help="make the datasets of a run again from its journal",
        arguments=_build_arguments,
        run=_build,
    ),
    Command(
        name="merge",
        help="join the runs of the shards of a suite into one run, and make its datasets",
        arguments=_merge_arguments,
        run=_merge,
    ),
    Command(
        name="show",
        help="print the summary of a stored run, or list the runs",
        arguments=_show_arguments,
        run=_show,
    ),
    COMPARE,
    GATE,
    BASELINE,
)
