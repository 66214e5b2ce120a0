"""--smoltrace-list-metrics: what gates can be about, without a model."""

import re
import subprocess
import sys

import pytest

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.gates.grammar import parse
from pytest_smoltrace.gates.listing import metric_lines
from pytest_smoltrace.gates.metrics import aliases, figures

FLAG = "--smoltrace-list-metrics"


@pytest.fixture
def listed(pytester, monkeypatch):
    """Return the lines that pytest writes in a terminal so wide."""

    def listed(*arguments, columns=100):
        monkeypatch.setenv("COLUMNS", str(columns))
        pytester.makepyfile("raise SystemExit(9)")
        result = pytester.runpytest_subprocess(FLAG, *arguments)
        assert result.ret == 0, str(result.stderr)
        assert str(result.stderr) == ""
        return result.outlines

    return listed


def test_lists_without_a_model_and_collects_nothing(listed):
    lines = listed()
    assert not any("collected" in line or "test session" in line for line in lines)
    found = [line for line in lines if line.split()[:1] == ["success_rate"]]
    assert found == [line for line in lines if "success_rate  " in line]
    assert "%" in found[0]
    assert "higher is better" in found[0]
    (latency,) = (at for at, line in enumerate(lines) if line.strip().startswith("latency,"))
    assert "ms" in lines[latency]
    assert "lower is better" in lines[latency]
    assert "execution_time_ms" in lines[latency + 1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--smoltrace-model=openai:x",),
        ("--smoltrace-gate=nonsense >= 3",),
        ("-n2",),
        ("--co", "-q"),
        ("no/such/file.py",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_it_does_nothing_else(listed, arguments):
    assert any("no_regressions" in line for line in listed(*arguments))


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_it_fits_the_terminal(listed, columns):
    widths = [len(line) for line in listed(columns=columns)]
    assert columns - 10 < max(widths) <= columns


@pytest.mark.parametrize("columns", [1, 60, 80, 10_000])
def test_any_width_is_readable(columns):
    lines = list(metric_lines(columns))
    assert max(map(len, lines)) <= 120
    assert all(line.isascii() for line in lines)  # a terminal without UTF-8 shows them too


def test_every_name_is_listed_and_every_listed_name_is_one():
    lines = list(metric_lines(10_000))
    words = {word for line in lines for word in re.findall(r"[\w.@^]+", line)}
    named = {word for line in lines for word in _names(line)}
    assert {name for name, of in aliases().items() if of in figures()} - named <= {
        "cost_usd",
        "total_tokens",
    }
    assert set(figures()) - words == set()
    for name in named - {"no_regressions"}:
        with pytest.raises(ConfigError, match="limit are missing"):
            parse(name)


def _names(line):
    """Return the names of a line that begins with some."""
    if not line.startswith("    ") or line.startswith("     "):
        return []
    return [name.strip() for name in line[4:].split("  ")[0].split(",")]


def test_the_help_of_pytest_names_it(pytester):
    result = pytester.runpytest_subprocess("--help")
    result.stdout.fnmatch_lines(["*--smoltrace-list-metrics*"])


def test_an_unknown_metric_points_to_it(pytester):
    pytester.makepyfile("def test_one(): pass")
    result = pytester.runpytest_subprocess(
        "--smoltrace-model=local", "--smoltrace-gate=sucess_rate >= 80%"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.startswith("ERROR")]
    assert "did you mean 'success_rate'?" in line
    assert FLAG in line


def test_the_metrics_are_not_imported_before_they_are_needed():
    """Importing the reader of gates brings no schema with it."""
    code = (
        "import sys, pytest_smoltrace.gates.grammar as g\n"
        "assert not {'pyarrow', 'numpy', 'scipy'} & set(sys.modules)\n"
        "g.parse('cost <= 1usd')\n"
        "assert 'pyarrow' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
