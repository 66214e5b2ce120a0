"""Writes the reports of a session: into its run directory, and where a CI system looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.report import github
from pytest_smoltrace.report.gitlab import open_metrics
from pytest_smoltrace.report.markdown import SUMMARY_LIMIT, pr_comment, step_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

COMMENT_NAME = "pr-comment.md"
METRICS_NAME = "metrics.txt"


def write_reports(
    directory: Path,
    summary: Mapping[str, Any],
    *,
    ci: str,
    environ: Mapping[str, str],
    annotate: Callable[[str], None],
    locations: Mapping[str, tuple[str, int | None]],
) -> list[str]:
    """Write the reports of a session and return what could not be written, a line each.

    Args:
        directory: The run directory.
        summary: The value of summary.json.
        ci: auto, github, gitlab or off, as --smoltrace-ci has it.
        environ: The environment variables.
        annotate: Takes the lines that mark files in the log of the job.
        locations: Node id -> file, relative to the repository, and line of its test.
    """
    texts = [
        (directory / COMMENT_NAME, "w", pr_comment(summary, key=comment_key(environ))),
        (directory / METRICS_NAME, "w", open_metrics(summary)),
    ]
    if ci == "github" or (ci == "auto" and environ.get("GITHUB_ACTIONS") == "true"):
        values = github.outputs(summary, directory)
        room = SUMMARY_LIMIT - _size(environ.get("GITHUB_STEP_SUMMARY"))
        page = step_summary(summary, limit=room)
        texts += _named_file(environ, "GITHUB_STEP_SUMMARY", page)
        texts += _named_file(environ, "GITHUB_OUTPUT", github.heredocs(values))
        for line in github.annotation_lines(summary, locations):
            annotate(line)
    return [problem for path, mode, text in texts for problem in _write(path, mode, text)]


def comment_key(environ: Mapping[str, str]) -> str:
    """Return what sets the comment of a job apart: the name that its platform gives the job."""
    return (
        environ.get("SMOLTRACE_COMMENT_KEY")
        or environ.get("GITHUB_JOB")
        or environ.get("CI_JOB_NAME", "")
    )


def _named_file(
    environ: Mapping[str, str], variable: str, text: str
) -> Iterator[tuple[Path, str, str]]:
    """Yield a text that goes to the end of the file that a variable names."""
    if environ.get(variable):
        yield Path(environ[variable]), "a", text


def _size(path: str | None) -> int:
    """Return the bytes that a file has by now: GitHub's limit is for all that a step writes."""
    try:
        return Path(path).stat().st_size if path else 0
    except OSError:
        return 0


def _write(path: Path, mode: str, text: str) -> Iterator[str]:
    """Yield why a report could not be written."""
    try:
        with path.open(mode, encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
    except OSError as error:
        yield f"cannot write {path}: {error.strerror or error}"
