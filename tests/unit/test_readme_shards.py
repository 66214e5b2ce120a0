"""The README's ways to run shards: their commands exist, and the gate decides as it should."""

import json
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import yaml

from pytest_smoltrace import cli
from pytest_smoltrace.commands.gate import GATE
from pytest_smoltrace.option_table import OPTIONS
from pytest_smoltrace.option_values import shard
from tests.unit.stored_run import store

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Shards\n")[2].partition("\n## ")[0]
FLAGS = {option.flag for option in OPTIONS}


def block(language, first_line=""):
    found = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return next(text for text in found if text.startswith(first_line))


def check_pytest(command):
    flags = set(re.findall(r"--smoltrace-[a-z-]+", command))
    assert flags <= FLAGS
    assert {"--smoltrace-shard", "--smoltrace-dir", "--smoltrace-model"} <= flags


def check_merge(command, output="merged"):
    args = cli._parser().parse_args(command.split()[1:])
    assert args.run is cli._merge
    assert str(args.output) == output


def test_the_options_of_the_section_exist():
    assert set(re.findall(r"--smoltrace-[a-z-]+", SECTION)) <= FLAGS


def test_the_commands():
    first, second, third = block("bash").splitlines()
    check_pytest(first.partition("#")[0])
    check_merge(second)
    assert cli._parser().parse_args(shlex.split(third)[1:]).run is GATE.run


def test_the_workflow():
    jobs = yaml.safe_load(block("yaml"))["jobs"]
    assert jobs["gate"]["needs"] == "shard"
    assert jobs["shard"]["strategy"]["fail-fast"] is False
    of_shard, of_gate = (
        [step["run"].strip() for step in jobs[name]["steps"] if "run" in step]
        for name in ("shard", "gate")
    )
    check_pytest(of_shard[-1])
    count = len(jobs["shard"]["strategy"]["matrix"]["shard"])
    text = of_shard[-1].replace("${{ matrix.shard }}", "3")
    assert f"--smoltrace-shard=3/{count} " in text
    check_merge(of_gate[1])
    assert " ".join(of_gate[2].split()) == block("bash").splitlines()[2]
    (kept,) = [s["with"] for s in jobs["shard"]["steps"] if "upload" in s.get("uses", "")]
    assert kept["path"] == "out/runs"
    assert "--smoltrace-dir=out " in text


GOOD = {f"c{n}": "P" for n in range(20)}


@pytest.mark.parametrize(
    ("facts", "passes"),
    [
        ({"cases": GOOD}, True),
        ({"cases": GOOD | {"c0": "F", "c1": "F"}}, True),
        ({"cases": GOOD | {"c0": "F", "c1": "F", "c2": "F"}}, False),
        ({"cases": GOOD | {"c0": "E"}}, False),
        ({"cases": GOOD, "models": ("m-1", "m-2")}, True),
    ],
)
def test_the_gate(facts, passes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store(tmp_path, "merged", **facts).rename("merged")
    command = shlex.split(block("bash").splitlines()[2])
    assert cli.main(command[1:]) == (not passes), capsys.readouterr()
    assert json.loads(Path("merged/gates.json").read_text())["status"] == (
        "passed" if passes else "failed"
    )


def executed(source, monkeypatch):
    """Run a program of the README without starting a process; return what it would start."""
    commands = []

    def start(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", start)
    exec(compile(source, "README", "exec"), {"__name__": "__main__"})
    return commands


def test_the_slurm_array(monkeypatch):
    class Executor:
        def __init__(self, folder):
            pass

        def update_parameters(self, **_):
            pass

        def map_array(self, function, values):
            return [types.SimpleNamespace(result=lambda v=v: function(v)) for v in values]

    submitit = types.ModuleType("submitit")
    submitit.AutoExecutor = Executor
    monkeypatch.setitem(sys.modules, "submitit", submitit)
    *shards, merge = executed(block("python", "# slurm"), monkeypatch)
    assert len(shards) == 16
    given = []
    for command in shards:
        check_pytest(" ".join(command))
        (option,) = [word for word in command if word.startswith("--smoltrace-shard=")]
        given.append(shard(option.partition("=")[2]))
    assert [(one.index, one.count) for one in given] == [(n, 16) for n in range(1, 17)]
    check_merge(merge, "nightly-7/merged")


def test_the_hugging_face_jobs(monkeypatch):
    import huggingface_hub

    api = create_autospec(huggingface_hub.HfApi, instance=True)
    api.run_job.side_effect = [types.SimpleNamespace(id=f"job-{n}") for n in range(8)]
    stage = types.SimpleNamespace(stage="COMPLETED")
    api.wait_for_job.side_effect = lambda ids: [types.SimpleNamespace(status=stage) for _ in ids]
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    (merge,) = executed(block("python", "# hf"), monkeypatch)
    check_merge(merge)
    starts = [call.kwargs for call in api.run_job.call_args_list]
    assert [start["env"]["SHARD"] for start in starts] == [f"{n}/8" for n in range(1, 9)]
    check_pytest(starts[0]["command"][2])
    assert api.create_repo.call_args.kwargs["private"] is True
