"""The README's CI files: their options, gates, outputs and steps exist, and the comment is kept."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pytest_smoltrace import cli
from pytest_smoltrace.attempt.properties import properties_of
from pytest_smoltrace.gates.grammar import parse, split_name
from pytest_smoltrace.option_table import OPTIONS
from pytest_smoltrace.report.github import outputs
from pytest_smoltrace.report.markdown import pr_comment
from tests.unit import summary_factory as make

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## In CI\n")[2].partition("\n## ")[0]
FLAGS = {option.flag for option in OPTIONS} | {"--smoltrace-no-gates"}
PINNED = re.compile(r"actions/[\w-]+@v\d+")


def block(name):
    found = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    return yaml.safe_load(next(text for text in found if text.startswith(f"# {name}\n")))


GITHUB, COMMENT, GITLAB = (
    block(name)
    for name in (
        ".github/workflows/evals.yml",
        ".github/workflows/evals-comment.yml",
        ".gitlab-ci.yml",
    )
)
STEPS = GITHUB["jobs"]["evals"]["steps"]


def check_command(command):
    assert set(re.findall(r"--smoltrace-[a-z-]+", command)) <= FLAGS
    for _, quoted, bare in re.findall(r"--smoltrace-gate=(?:(\w+=)?'([^']+)'|(\w+))", command):
        parse(split_name(quoted or bare)[1])


def test_the_options_of_the_section_exist():
    assert set(re.findall(r"--smoltrace-[a-z-]+", SECTION)) <= FLAGS


def test_the_github_workflow():
    for step in STEPS:
        assert "run" in step or PINNED.fullmatch(step["uses"])
    (evals,) = [step for step in STEPS if step.get("id") == "evals"]
    check_command(evals["run"])
    assert evals["run"].startswith("pytest evals ")
    fetch = next(step for step in STEPS if "gh run download" in step.get("run", ""))
    upload = STEPS[-1]["with"]
    assert f"-n {upload['name']} -D out/baseline" in fetch["run"]
    assert "-w evals.yml -b main" in fetch["run"]
    assert "--smoltrace-baseline=out/baseline" in evals["env"]["BASELINE"]
    assert GITHUB["permissions"] == {"contents": "read", "actions": "read"}
    named = re.findall(r"steps\.evals\.outputs\.(\w+)", str(STEPS))
    assert named
    assert set(named) <= set(outputs(make.green(), Path("run")))


def test_the_outputs_and_properties_of_the_section_are_those_that_are_written():
    told = SECTION.partition("**outputs**")[2].partition("- **annotations**")[0]
    assert {*re.findall(r"`(\w+)`", told)} == {
        *outputs(make.green(), Path("run")),
        "no_regressions",
    }
    names = properties_of.__code__.co_consts
    listed = re.findall(r"`(?:smoltrace)?\.([a-z_]+)`", SECTION)
    assert tuple(listed) in names


def test_the_gitlab_job():
    (job,) = GITLAB.values()
    check_command(" ".join(job["script"]))
    assert "--junitxml=junit.xml" in job["script"][-1]
    assert job["artifacts"]["reports"] == {"junit": "junit.xml", "metrics": "metrics.txt"}
    assert job["after_script"] == ['cp "out/runs/ci-$CI_JOB_ID/metrics.txt" metrics.txt']
    assert '--smoltrace-run-id="ci-$CI_JOB_ID"' in job["script"][-1]


def test_the_command_that_makes_a_baseline():
    (command,) = re.findall(r"`pytest-smoltrace (baseline [^`]+)`", SECTION)
    cli._parser().parse_args(command.split())


def test_the_comment_workflow_is_no_danger():
    assert COMMENT[True]["workflow_run"]["workflows"] == [GITHUB["name"]]
    steps = COMMENT["jobs"]["comment"]["steps"]
    assert [PINNED.fullmatch(step["uses"]) is not None for step in steps] == [True, True]
    assert COMMENT["permissions"] == {"actions": "read", "pull-requests": "write"}
    script = steps[1]["with"]["script"]
    assert "${{" not in script, "what a pull request names is never part of the program"


SCRIPT = """
const given = JSON.parse(require('fs').readFileSync(0, 'utf8')), done = []
const rest = {
  pulls: {list: 'pulls'},
  issues: {
    listComments: 'comments',
    updateComment: async one => done.push(['update', one]),
    createComment: async one => done.push(['create', one]),
  },
}
const github = {rest, paginate: async kind => given[kind]}
const context = {repo: {owner: 'o', repo: 'r'}, payload: {workflow_run: given.run}}
const AsyncFunction = (async () => {}).constructor
new AsyncFunction('github', 'context', 'require', given.script)(github, context, require)
  .then(() => done, error => error.message)
  .then(result => console.log(JSON.stringify(result)))
"""
RUN = {"head_repository": {"owner": {"login": "fork"}}, "head_branch": "b", "head_sha": "s1"}
PULL = {"number": 7, "head": {"sha": "s1"}}
BODY = pr_comment(make.regression(), key="evals")


def comment(number, body, kind="Bot"):
    return {"id": number, "body": body, "user": {"type": kind}}


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize(
    ("body", "pulls", "comments", "expected"),
    [
        (BODY, [PULL], [], ["create", 7]),
        (BODY, [PULL], [comment(3, BODY)], ["update", 3]),
        (BODY, [PULL], [comment(2, BODY, "User"), comment(3, BODY)], ["update", 3]),
        (BODY, [PULL], [comment(3, pr_comment(make.green(), key="other"))], ["create", 7]),
        (BODY, [PULL], [comment(3, pr_comment(make.green()))], ["create", 7]),
        (BODY, [PULL | {"head": {"sha": "s2"}}], [], None),
        (BODY, [], [], None),
        ("\nforged", [PULL], [comment(3, "of another bot")], "no comment"),
    ],
)
def test_the_comment_is_kept(tmp_path, body, pulls, comments, expected):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pr-comment.md").write_text(body, encoding="utf-8")
    script = COMMENT["jobs"]["comment"]["steps"][1]["with"]["script"]
    given = {"script": script, "run": RUN, "pulls": pulls, "comments": comments}
    ran = subprocess.run(
        ["node", "-e", SCRIPT], input=json.dumps(given), capture_output=True, text=True,
        cwd=tmp_path, check=True,
    )  # fmt: skip
    done = json.loads(ran.stdout)
    if isinstance(expected, list):
        ((what, asked),) = done
        assert [what, asked.get("comment_id") or asked.get("issue_number")] == expected
        assert asked["body"] == body
    else:
        assert done == (expected or [])
