"""Seeds of trials: what the models were built with and what the server was asked."""

import json
from collections import Counter, defaultdict

import pytest

from tests.truth import scripted_server as ss

CASES = """
import json
import pytest

@pytest.mark.parametrize("n", range(2))
def test_it(smoltrace_agent, smoltrace_model, smoltrace_case, n):
    smoltrace_agent().run(f"answer Bern [[case:trial-{smoltrace_case.trial}]]")
    seen = smoltrace_case.trial, n, id(smoltrace_model), sent(smoltrace_model)
    with open("seen.txt", "a") as stream:
        stream.write(json.dumps(seen) + "\\n")

def sent(model):
    return getattr(model, "own_seed", None) or model.kwargs.get("seed")
"""
MODEL = """
class {name}(Scripted):
    def __init__(self, model_id, own_seed=None, **kwargs):
        super().__init__(model_id=model_id, **kwargs)
        self.weights, self.own_seed = [0] * 1000, own_seed
        with open("built.txt", "a") as stream:
            stream.write(f"{{own_seed or kwargs.get('seed')}}\\\\n")


def pytest_smoltrace_make_model(config, spec):
    return {name}(spec.model_id, {arguments})
"""
KEYWORDS = "**config.generation.requested()"
OWN = "own_seed=config.generation.seed"
THREE = ("--smoltrace-trials=3", "--smoltrace-agent-type=tool")


@pytest.fixture
def models(suite, pytester):
    """Run cases on a model of the user's; return seeds of the trials, of the builds, and ids."""

    def run(*args, name="Weighty", arguments=KEYWORDS):
        conftest = MODEL.format(name=name, arguments=arguments).replace("\\\\n", "\\n")
        done = suite(*THREE, *args, source=CASES, conftest=conftest)
        done.result.assert_outcomes(passed=6)
        seen = [json.loads(line) for line in (pytester.path / "seen.txt").read_text().splitlines()]
        seeds, objects = defaultdict(set), set()
        for trial, _, identity, seed in seen:
            seeds[trial].add(seed)
            objects.add(identity)
        built = Counter((pytester.path / "built.txt").read_text().split())
        return dict(seeds), built, objects

    return run


def test_a_model_that_sends_its_seed_is_built_once(models):
    seeds, built, objects = models("--smoltrace-seed=40")
    assert seeds == {0: {40}, 1: {41}, 2: {42}}
    assert built == {"40": 1}
    assert len(objects) == 3


def test_a_hook_is_asked_for_each_seed_that_it_keeps_elsewhere(models):
    seeds, built, _ = models("--smoltrace-seed=-5", arguments=OWN)
    assert seeds == {0: {-5}, 1: {-4}, 2: {-3}}
    assert built == {"-5": 1, "-4": 1, "-3": 1}


@pytest.mark.parametrize("arguments", [KEYWORDS, OWN])
def test_without_a_seed_nothing_is_sent(models, arguments):
    seeds, built, objects = models(arguments=arguments)
    assert seeds == {0: {None}, 1: {None}, 2: {None}}
    assert built == {"None": 1}
    assert len(objects) == 1


@pytest.mark.parametrize("name", ["TransformersModel", "VLLMModel", "MLXModel"])
def test_weights_are_loaded_once(models, name):
    seeds, built, objects = models("--smoltrace-seed=7", name=name, arguments=OWN)
    assert seeds == {0: {7}, 1: {7}, 2: {7}}
    assert built == {"7": 1}
    assert len(objects) == 1


SERVED = """
import pytest

@pytest.mark.parametrize("n", range(2))
def test_it(smoltrace_agent, smoltrace_case, n):
    smoltrace_agent().run(f"Go. [[case:trial-{smoltrace_case.trial}]]")
"""


@pytest.fixture
def asked(suite):
    """Run cases against a server; return its (trial, seed) of all requests."""

    def run(*args, source=SERVED, model="openai:m"):
        with ss.ScriptedServer(default=ss.final_answer("Bern")) as server:
            url = f"--smoltrace-base-url={server.url}"
            done = suite(url, *THREE, *args, source=source, model=model)
            requests = [served.body for served in server.completions]
        done.result.assert_outcomes(passed=6)
        return done, Counter((ss.case_of(body), body.get("seed")) for body in requests)

    return run


@pytest.mark.parametrize("model", ["openai:m", "litellm:openai/m", "inference:m"])
def test_the_provider_gets_the_seed_of_the_trial(asked, model, monkeypatch):
    if model.startswith("litellm"):
        pytest.importorskip("litellm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # its client sends nothing then
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    _, seeds = asked("--smoltrace-seed=5", model=model)
    assert seeds == {("trial-0", 5): 2, ("trial-1", 6): 2, ("trial-2", 7): 2}


def test_the_provider_gets_no_seed_that_nobody_gave(asked):
    _, seeds = asked()
    assert seeds == {("trial-0", None): 2, ("trial-1", None): 2, ("trial-2", None): 2}


def test_a_seed_of_the_model_itself_is_kept(asked):
    _, seeds = asked("--smoltrace-seed=5", "--smoltrace-model-arg=seed=99")
    assert seeds == {("trial-0", 99): 2, ("trial-1", 99): 2, ("trial-2", 99): 2}


def test_workers_ask_with_the_same_seeds(asked):
    _, seeds = asked("--smoltrace-seed=5", "-n", "2")
    assert seeds == {("trial-0", 5): 2, ("trial-1", 6): 2, ("trial-2", 7): 2}


def test_the_settings_of_the_run_name_the_first_seed(asked):
    run, _ = asked("--smoltrace-seed=5")
    (board,) = run.rows("leaderboard")
    assert json.loads(board["generation_settings"])["applied"] == {"seed": 5}
