"""`pytest-smoltrace gate`: judges a stored run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.command import Command, directory_argument
from pytest_smoltrace.option_table import OPTIONS, Option

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from pytest_smoltrace.config import Judging
    from pytest_smoltrace.gates.verdicts import Judgement
    from pytest_smoltrace.pyproject import Settings
    from pytest_smoltrace.settings import Source

_GIVEN = (
    *("gate", "baseline", "margin", "power", "inconclusive", "allow_mismatch"),
    "baseline_missing",
)
"""Options of a session that are arguments here, without their prefix."""
_FIXED = ("gates", "gate_only", "ci")
"""Options that only a session has a use for."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", help="a run directory, an id, or last")
    for name, option in _options().items():
        parser.add_argument(
            _flag(name),
            option.flag,  # as a session has it
            dest=name,
            metavar=option.metavar,
            action="append" if option.repeats else "store",
            help=option.help.replace("%", "%%"),
        )
    keep = "keep the verdict with the run, in gates.json and summary.json"
    parser.add_argument("--keep", action="store_true", help=keep)
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more")
    parser.add_argument("-q", "--quiet", action="store_true", help="say it in one line")
    directory_argument(parser)


def _options() -> Mapping[str, Option]:
    return {option.name: option for option in OPTIONS if option.name in _GIVEN}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _run(args: argparse.Namespace) -> int:
    from pytest_smoltrace import pyproject
    from pytest_smoltrace.gates.lines import verdict_lines
    from pytest_smoltrace.stored_runs import find_run

    directory = find_run(args.run_dir, args.dir)
    judging = _judging(args, pyproject.read(Path.cwd()), _own(directory))
    judgement = _judged(directory, judging, args.dir)
    if args.keep:
        from pytest_smoltrace.gating import keep
        from pytest_smoltrace.redaction import Redactor

        keep(directory, judgement, None, Redactor.from_environment(os.environ).json)
    code = 0 if judgement.passed else 1
    value = {**judgement.as_dict(), "exit_status": code}
    for line, _ in verdict_lines(value, verbose=-1 if args.quiet else args.verbose):
        print(line)
    return code


def _judged(directory: Path, judging: Judging, folder: Path) -> Judgement:
    """Judge a run by a baseline that is another one."""
    from pytest_smoltrace.gating import prepare
    from pytest_smoltrace.measured.load import load_directory

    summary = load_directory(directory).summary
    judge = prepare(
        judging,
        directory=folder,
        rootdir=Path.cwd(),
        leave_out=str(summary.get("session_id") or directory.name),
        flag=_flag("baseline"),
    )
    ended = summary.get("stop_reason") or "completed"
    cut = None if ended == "completed" else f"the session ended early: {ended}"
    return judge.judge(directory, partial=cut)


def _own(directory: Path) -> Mapping[str, Any]:
    """Return gates and baseline that the session of a run was given."""
    from pytest_smoltrace.run import read_ends

    header, _ = read_ends(directory)
    return {name: header.config.get(name) for name in ("gate", "baseline")}


def _judging(args: argparse.Namespace, table: Settings, own: Mapping[str, Any]) -> Judging:
    """Return what is given, and for the rest what the environment and pyproject.toml say.

    Where they all say nothing, the run is judged by what its own session was given.
    """
    from pytest_smoltrace.errors import ConfigError
    from pytest_smoltrace.settings import effective, gates_of, given, judging

    options = _options()
    values: dict[str, Any] = {
        name: effective(option, _sources(option, args, table), _flag(name)).value
        for name, option in options.items()
    }
    values |= {option.name: option.default for option in OPTIONS if option.name in _FIXED}
    gates = given(options["gate"], _sources(options["gate"], args, table))
    asked = judging(values, tuple(gates_of(gates, table.gates)))
    if not asked.asked and any(own.values()):
        kept = given(options["gate"], [("run", "the run's own gates", own["gate"] or None)])
        asked = judging({**values, "baseline": own["baseline"]}, tuple(gates_of(kept, ())))
    if not asked.asked:
        raise ConfigError(
            "there is nothing to judge by; give --gate 'success_rate >= 80%' or --baseline last, "
            "or write gates in [tool.smoltrace.gates] of pyproject.toml"
        )
    return asked


def _sources(option: Option, args: argparse.Namespace, table: Settings) -> Iterator[Source]:
    """Yield what argument, environment and pyproject.toml say of an option."""
    from pytest_smoltrace.settings import split_variable

    name = option.name
    yield "flag", _flag(name), getattr(args, name)
    yield "environment", option.env, split_variable(option, os.environ.get(option.env, ""))
    yield "pyproject", f"{name} (pyproject.toml)", table.options.get(name)


GATE = Command(
    name="gate",
    help="judge a stored run by gates; exit code 1 when one of them fails",
    arguments=_arguments,
    run=_run,
)
