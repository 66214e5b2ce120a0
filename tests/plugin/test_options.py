"""Every option: precedence, origin, range, message and what is shown of it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_smoltrace import options
from pytest_smoltrace.config import GateSpec, Generation, Judging, Limits, ModelSpec, Shard
from pytest_smoltrace.electricity import Electricity

PLUGIN = """
from pytest_smoltrace.options import read, register as pytest_addoption

def pytest_configure(config):
    config.smoltrace_read = read(config, extra_providers=("acme",))
"""

PLUGINS = ("-p", "no:smoltrace", "-p", "no:asyncio", "-p", "no:randomly", "-p", "read_options")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for option in options.OPTIONS:
        monkeypatch.delenv(option.env, raising=False)


@pytest.fixture
def read(pytester):
    """Read the options of a command line through a session of pytest itself."""
    pytester.makepyfile(read_options=PLUGIN)
    pytester.syspathinsert()

    def read(*args, ini=""):
        pytester.makefile(".ini", pytest=f"[pytest]\n{ini}")
        config = pytester.parseconfigure(*PLUGINS, *args)
        return config.smoltrace_read

    return read


@pytest.fixture
def refused(read):
    """Return the one line that a command line is refused with."""

    def refused(*args, ini=""):
        with pytest.raises(pytest.UsageError) as caught:
            read(*args, ini=ini)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return refused


OPENAI = "--smoltrace-model=openai:gpt-4o-mini"


def test_no_model_is_inactive(read):
    assert read() is None
    assert read("--smoltrace-temperature=0.5", "--smoltrace-provider=openai") is None
    assert read(ini="smoltrace_temperature = hot\nsmoltrace_dir = x") is None


def test_defaults(read, pytester):
    config = read(OPENAI)
    assert config.models == (ModelSpec(provider="openai", model_id="gpt-4o-mini"),)
    assert config.agent_types == ("tool",)
    assert config.stream is True
    assert config.hide_content is False
    assert config.generation == Generation()
    assert config.generation.requested() == {}
    assert config.model_args == {}
    assert config.directory == pytester.path / ".smoltrace"
    assert (config.max_steps, config.base_url, config.prices, config.run_id) == (None,) * 4
    assert config.notes == ""
    assert config.origins["model"] == "flag"
    assert set(config.origins.values()) == {"flag", "default"}


def test_every_option_has_an_effect(read, pytester):
    config = read(
        OPENAI,
        "--smoltrace-base-url=https://llm.example.com/v1",
        "--smoltrace-agent-type=both",
        "--smoltrace-no-stream",
        "--smoltrace-temperature=0.25",
        "--smoltrace-top-p=0.75",
        "--smoltrace-max-tokens=77",
        "--smoltrace-frequency-penalty=-1.5",
        "--smoltrace-presence-penalty=1.25",
        "--smoltrace-seed=-3",
        "--smoltrace-reasoning-effort=low",
        "--smoltrace-model-arg=timeout=5",
        "--smoltrace-model-arg=organization=acme",
        '--smoltrace-model-arg=extra_body={"a": [1]}',
        "--smoltrace-max-steps=4",
        "--smoltrace-case-timeout=90",
        "--smoltrace-request-timeout=12.5",
        "--smoltrace-tool-timeout=7",
        "--smoltrace-budget-usd=0.5",
        "--smoltrace-budget-tokens=9000",
        "--smoltrace-max-concurrency=3",
        "--smoltrace-max-retries=0",
        "--smoltrace-dir=out",
        "--smoltrace-run-id=night-1",
        "--smoltrace-prices=prices.toml",
        "--smoltrace-submitted-by=ann",
        "--smoltrace-notes=a note",
        "--smoltrace-suite-version=v3",
        "--smoltrace-use-case=billing",
        "--smoltrace-team=core",
        "--smoltrace-purpose=regression",
        "--smoltrace-hardware=M9",
        "--smoltrace-hide-content",
        "--smoltrace-resume=last",
        "--smoltrace-shard=2/3",
        "--smoltrace-shard-durations=night-0",
        "--smoltrace-hosts=hosts.toml",
        "--smoltrace-gpus-per-worker=2",
        "--smoltrace-fsync=case",
        "--smoltrace-gpu=on",
        "--smoltrace-gpu-interval=0.5",
        "--smoltrace-hw-metrics",
        "--smoltrace-country=fr",
        "--smoltrace-carbon-intensity=12.5",
        "--smoltrace-power-price=0.31",
        "--smoltrace-pue=1.25",
        "--smoltrace-trials=5",
        "--smoltrace-pass-k=2",
        "--smoltrace-gate=good=success_rate >= 80%",
        "--smoltrace-no-gates",
        "--smoltrace-gate-only",
        "--smoltrace-baseline=last-green",
        "--smoltrace-baseline-missing=warn",
        "--smoltrace-margin=2.5pp",
        "--smoltrace-power=0.9",
        "--smoltrace-inconclusive=fail",
        "--smoltrace-allow-mismatch=model",
        "--smoltrace-allow-mismatch=suite",
        "--smoltrace-ci=gitlab",
    )
    place = "--smoltrace-gate"
    assert (config.trials, config.pass_k) == (5, 2)
    assert config.judging == Judging(
        gates=(GateSpec(name="good", text="success_rate >= 80%", place=place),),
        enabled=False,
        gate_only=True,
        baseline="last-green",
        baseline_missing="warn",
        margin=0.025,
        power=0.9,
        inconclusive="fail",
        allow_mismatch=("model", "suite"),
        ci="gitlab",
    )
    assert (config.gpu, config.gpu_interval, config.hw_metrics) == ("on", 0.5, True)
    # A figure comes before the country's, which is the place all the same.
    assert config.electricity == Electricity(
        carbon_g_per_kwh=12.5, source="option", country="FRA", price_usd_per_kwh=0.31, pue=1.25
    )
    assert (config.resume, config.shard) == ("last", Shard(index=2, count=3))
    assert (config.shard_durations, config.hosts) == ("night-0", pytester.path / "hosts.toml")
    assert (config.gpus_per_worker, config.fsync) == (2, "case")
    assert config.base_url == "https://llm.example.com/v1"
    assert config.agent_types == ("tool", "code")
    assert config.stream is False
    assert config.generation == Generation(
        temperature=0.25,
        top_p=0.75,
        max_tokens=77,
        frequency_penalty=-1.5,
        presence_penalty=1.25,
        seed=-3,
        reasoning_effort="low",
    )
    assert config.model_args == {
        "timeout": 5,
        "organization": "acme",
        "extra_body": {"a": [1]},
    }
    assert config.max_steps == 4
    assert config.limits == Limits(
        case_timeout=90.0,
        request_timeout=12.5,
        tool_timeout=7.0,
        budget_usd=0.5,
        budget_tokens=9000,
        max_concurrency=3,
        max_retries=0,
    )
    assert config.directory == pytester.path / "out"
    assert config.prices == pytester.path / "prices.toml"
    assert (config.run_id, config.submitted_by, config.notes) == ("night-1", "ann", "a note")
    assert (config.suite_version, config.use_case, config.team) == ("v3", "billing", "core")
    assert (config.purpose, config.hardware, config.hide_content) == ("regression", "M9", True)
    changed = {name for name, origin in config.origins.items() if origin == "flag"}
    assert changed == {option.name for option in options.OPTIONS} - {"provider"}


def test_flag_over_environment_over_ini_over_default(read, monkeypatch):
    ini = "smoltrace_max_steps = 3"
    assert read(OPENAI).origins["max_steps"] == "default"
    config = read(OPENAI, ini=ini)
    assert (config.max_steps, config.origins["max_steps"]) == (3, "ini")
    monkeypatch.setenv("SMOLTRACE_MAX_STEPS", "5")
    config = read(OPENAI, ini=ini)
    assert (config.max_steps, config.origins["max_steps"]) == (5, "environment")
    config = read(OPENAI, "--smoltrace-max-steps=7", ini=ini)
    assert (config.max_steps, config.origins["max_steps"]) == (7, "flag")


def test_an_empty_variable_is_not_set(read, monkeypatch):
    monkeypatch.setenv("SMOLTRACE_MAX_STEPS", "")
    monkeypatch.setenv("SMOLTRACE_MODEL", " ")
    assert read(ini="smoltrace_model =\n") is None
    assert read(OPENAI).max_steps is None


@pytest.mark.parametrize(
    ("word", "value"), [("0", False), ("No", False), ("on", True), ("1", True)]
)
def test_switches_of_the_environment(read, monkeypatch, word, value):
    monkeypatch.setenv("SMOLTRACE_STREAM", word)
    monkeypatch.setenv("SMOLTRACE_HIDE_CONTENT", word)
    config = read(OPENAI)
    assert (config.stream, config.hide_content) == (value, value)


def test_the_last_of_two_opposite_flags_holds(read):
    assert read(OPENAI, "--smoltrace-no-stream", "--smoltrace-stream").stream is True
    assert read(OPENAI, "--smoltrace-stream", "--smoltrace-no-stream").stream is False


def test_flags_replace_models_of_the_environment(read, monkeypatch):
    monkeypatch.setenv("SMOLTRACE_MODEL", "openai:a, ollama:b:3b\nlocal")
    specs = [str(model) for model in read().models]
    assert specs == ["openai:a", "ollama:b:3b", "local"]
    assert [str(model) for model in read("--smoltrace-model=openai:c").models] == ["openai:c"]


def test_models_of_an_ini_file_one_a_line(read):
    config = read(ini="smoltrace_model =\n    openai:a\n    openai:b\n")
    assert [model.model_id for model in config.models] == ["a", "b"]
    assert config.origins["model"] == "ini"


def test_the_same_model_twice_is_one_model(read):
    assert len(read(OPENAI, OPENAI, "--smoltrace-model=openai:other").models) == 2


def test_matrix_of_models_and_agent_types(read):
    config = read(
        "--smoltrace-model=openai:a", "--smoltrace-model=local", "--smoltrace-agent-type=both"
    )
    cells = [(str(cell.model), cell.agent_type) for cell in config.variants]
    assert cells == [
        ("openai:a", "tool"),
        ("openai:a", "code"),
        ("local", "tool"),
        ("local", "code"),
    ]


@pytest.mark.parametrize(
    ("provider", "spec", "expected"),
    [
        (None, "ollama:qwen2.5-coder:3b", ("ollama", "qwen2.5-coder:3b")),
        ("ollama", "qwen2.5-coder:3b", ("ollama", "qwen2.5-coder:3b")),
        ("openai", "gpt-4o", ("openai", "gpt-4o")),
        ("openai", "litellm:openai/gpt-4o", ("litellm", "openai/gpt-4o")),
        ("inference", "Qwen/Qwen3:together", ("inference", "Qwen/Qwen3:together")),
        (None, "acme:m1", ("acme", "m1")),
        ("acme", "m1", ("acme", "m1")),
        (None, "local", ("local", "")),
        ("local", "local", ("local", "")),
        ("local", "small", ("local", "small")),
        (None, "local:/models/a:b.gguf", ("local", "/models/a:b.gguf")),
        ("ollama", "local", ("ollama", "local")),
    ],
)
def test_spec(read, provider, spec, expected):
    flags = [f"--smoltrace-provider={provider}"] if provider else []
    (model,) = read(f"--smoltrace-model={spec}", *flags).models
    assert (model.provider, model.model_id) == expected


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--smoltrace-model="], ["--smoltrace-model is empty"]),
        (["--smoltrace-model= "], ["--smoltrace-model is empty"]),
        (["--smoltrace-model=openai:"], ["no model id", "openai:MODEL-ID"]),
        (["--smoltrace-model=local:"], ["no model id"]),
        (["--smoltrace-model=openai"], ["no model id", "openai:MODEL-ID"]),
        (["--smoltrace-model=:gpt"], ["no provider", "PROVIDER:gpt"]),
        (["--smoltrace-model=opneai:gpt-4o"], ["no known provider", "'openai'?"]),
        (["--smoltrace-model=gpt-4o"], ["no known provider", "PROVIDER:MODEL-ID", "ollama"]),
        ([OPENAI, "--smoltrace-provider=olama"], ["--smoltrace-provider", "'ollama'?"]),
        ([OPENAI, "--smoltrace-provider="], ["--smoltrace-provider is empty"]),
        ([OPENAI, "--smoltrace-agent-type=tol"], ["--smoltrace-agent-type", "'tool'?"]),
        ([OPENAI, "--smoltrace-purpose=fun"], ["selection, regression, monitoring"]),
        ([OPENAI, "--smoltrace-case-timeout=0"], ["'0' is not a number above 0"]),
        ([OPENAI, "--smoltrace-request-timeout=soon"], ["--smoltrace-request-timeout", "'soon'"]),
        ([OPENAI, "--smoltrace-budget-usd=-1"], ["number above 0"]),
        ([OPENAI, "--smoltrace-max-concurrency=0"], ["a whole number from 1"]),
        ([OPENAI, "--smoltrace-max-retries=-1"], ["a whole number from 0"]),
        ([OPENAI, "--smoltrace-temperature=hot"], ["'hot' is not a number from 0"]),
        ([OPENAI, "--smoltrace-temperature=-0.1"], ["number from 0"]),
        ([OPENAI, "--smoltrace-temperature=nan"], ["number from 0"]),
        ([OPENAI, "--smoltrace-temperature=inf"], ["number from 0"]),
        ([OPENAI, "--smoltrace-temperature="], ["--smoltrace-temperature is empty"]),
        ([OPENAI, "--smoltrace-top-p=0"], ["number above 0 to 1"]),
        ([OPENAI, "--smoltrace-top-p=1.01"], ["number above 0 to 1"]),
        ([OPENAI, "--smoltrace-max-tokens=0"], ["whole number from 1"]),
        ([OPENAI, "--smoltrace-max-tokens=1.5"], ["whole number from 1"]),
        ([OPENAI, "--smoltrace-max-steps=0"], ["whole number from 1"]),
        ([OPENAI, "--smoltrace-frequency-penalty=2.1"], ["number from -2 to 2"]),
        ([OPENAI, "--smoltrace-presence-penalty=-2.1"], ["number from -2 to 2"]),
        ([OPENAI, "--smoltrace-seed=x"], ["a whole number"]),
        ([OPENAI, "--smoltrace-run-id=a|b"], ["'a|b'", "safe folder name"]),
        ([OPENAI, "--smoltrace-run-id=../up"], ["safe folder name"]),
        ([OPENAI, "--smoltrace-run-id=.."], ["safe folder name"]),
        ([OPENAI, "--smoltrace-run-id=NUL.txt"], ["safe folder name"]),
        ([OPENAI, "--smoltrace-run-id=" + "x" * 101], ["safe folder name"]),
        ([OPENAI, "--smoltrace-base-url=llm.example.com"], ["--smoltrace-base-url", "https://"]),
        ([OPENAI, "--smoltrace-base-url=ftp://x/v1"], ["http://HOST"]),
        ([OPENAI, "--smoltrace-base-url=http://x:99999/"], ["http://HOST"]),
        ([OPENAI, "--smoltrace-model-arg=timeout"], ["KEY=VALUE"]),
        ([OPENAI, "--smoltrace-model-arg=a b=1"], ["KEY=VALUE"]),
        ([OPENAI, "--smoltrace-dir="], ["--smoltrace-dir is empty"]),
    ],
)
def test_wrong_values_are_one_clear_line(refused, args, words):
    message = refused(*args)
    for word in words:
        assert word in message


def test_the_place_of_a_wrong_value_is_named(refused, monkeypatch):
    assert refused(OPENAI, ini="smoltrace_seed = x").startswith("smoltrace_seed (ini): ")
    monkeypatch.setenv("SMOLTRACE_SEED", "y")
    assert refused(OPENAI).startswith("SMOLTRACE_SEED: ")
    monkeypatch.setenv("SMOLTRACE_STREAM", "maybe")
    monkeypatch.setenv("SMOLTRACE_SEED", "1")
    assert refused(OPENAI).startswith("SMOLTRACE_STREAM: ")


def test_a_secret_of_a_wrong_value_is_not_repeated(refused):
    assert "hunter2" not in refused(OPENAI, "--smoltrace-base-url=ann:hunter2@llm.example.com")
    assert "hunter2" not in refused(OPENAI, "--smoltrace-model-arg=api-key=hunter2")


def test_a_wrong_value_ends_pytest_with_exit_code_4(pytester, monkeypatch):
    package = Path(options.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(pytester.path), str(package))))
    pytester.makepyfile(read_options=PLUGIN, test_one="def test_one(): raise SystemExit(9)")
    arguments = ("-p", "no:smoltrace", "-p", "read_options", "--smoltrace-model=")
    result = pytester.runpytest_subprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --smoltrace-model is empty*"])
    assert "Traceback" not in result.stderr.str()


def test_paths_start_where_they_were_written(read, pytester, monkeypatch):
    ini = "smoltrace_dir = stored\nsmoltrace_prices = p.toml"
    below = pytester.mkdir("below")
    pytester.makefile(".ini", pytest=f"[pytest]\n{ini}")
    monkeypatch.chdir(below)
    config = pytester.parseconfigure(*PLUGINS, OPENAI)
    assert config.smoltrace_read.directory == pytester.path / "stored"
    assert config.smoltrace_read.prices == pytester.path / "p.toml"


def test_home_and_absolute_paths(read):
    home = read(OPENAI, "--smoltrace-dir=~/evals").directory
    assert home == Path.home() / "evals"
    assert read(OPENAI, "--smoltrace-dir=/srv/evals").directory == Path("/srv/evals")


def test_nothing_secret_is_shown(read):
    config = read(
        OPENAI,
        "--smoltrace-base-url=https://ann:hunter2@llm.example.com/v1?api_key=hunter3&version=2",
        "--smoltrace-model-arg=api_key=hunter4",
        '--smoltrace-model-arg=default_headers={"X-Custom": "hunter5"}',
        '--smoltrace-model-arg=extra={"nested": {"access_token": "hunter6"}, "max_tokens": 5}',
        "--smoltrace-notes=see https://bob:hunter7@example.com and sk-hunter8hunter8hunter8",
    )
    assert "hunter" not in repr(config.shown)
    assert config.shown["base_url"] == "https://***@llm.example.com/v1?api_key=***&version=2"
    assert config.shown["model_arg"]["extra"] == {
        "nested": {"access_token": "***"},
        "max_tokens": 5,
    }
    assert config.model_args["api_key"] == "hunter4"
    assert "hunter2" in config.base_url


def test_shown_values_are_plain_json(read):
    import json

    config = read(OPENAI, "--smoltrace-dir=out")
    stored = json.loads(json.dumps(config.shown, allow_nan=False))
    assert set(stored) == {option.name for option in options.OPTIONS}
    assert stored["model"] == ["openai:gpt-4o-mini"]
    assert stored["dir"] == "out"
    assert stored["temperature"] is None


def test_origin_lines(read):
    lines = list(
        options.origin_lines(read(OPENAI, "--smoltrace-no-stream", "--smoltrace-top-p=0.5"))
    )
    assert "  top_p: 0.5 (flag)" in lines
    assert "  stream: False (flag)" in lines
    assert "  agent_type: tool (default)" in lines
    assert not any(line.startswith(("  seed", "  notes", "  model_arg")) for line in lines)


def test_options_travel_to_xdist_workers_as_plain_values(pytester):
    pytester.makepyfile(read_options=PLUGIN)
    pytester.syspathinsert()
    arguments = ("-p", "no:smoltrace", "-p", "read_options", OPENAI, "--smoltrace-no-stream")
    option = vars(pytester.parseconfig(*arguments).option)
    ours = {key: value for key, value in option.items() if key.startswith("smoltrace_")}
    assert len(ours) == len(options.OPTIONS)
    for value in ours.values():
        assert value is None or isinstance(value, bool | str | list)


def test_help_names_every_flag_and_variable(pytester):
    pytester.makepyfile(read_options=PLUGIN)
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess(*PLUGINS, "--help")
    text = result.stdout.str()
    for option in options.OPTIONS:
        assert option.flag in text
        assert option.env in text
        assert option.dest in text
    assert "--smoltrace-no-stream" in text


def test_markdown_has_one_row_an_option():
    rows = options.markdown().splitlines()
    assert len(rows) == 2 + len(options.OPTIONS)
    assert all(row.count("|") == rows[0].count("|") for row in rows)


def test_importing_brings_nothing_but_pytest_and_the_standard_library():
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_smoltrace.options;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['pytest_smoltrace']"


def test_registering_is_cheap():
    from _pytest.config.argparsing import Parser

    def once():
        parser = Parser(_ispytest=True)
        start = time.perf_counter()
        options.register(parser)
        return time.perf_counter() - start

    assert min(once() for _ in range(10)) < 0.002
