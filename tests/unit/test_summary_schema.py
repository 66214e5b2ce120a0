"""The schema of summary.json: valid itself, complete, and refusing what is wrong."""

import copy
import dataclasses
import json

import jsonschema
import pytest

from pytest_smoltrace.comparing.divergence import Divergence
from pytest_smoltrace.comparing.flips import Flip, Side
from pytest_smoltrace.comparing.steps import Step
from pytest_smoltrace.comparison import Comparison
from pytest_smoltrace.gates.verdicts import BaselineUsed, GateResult, Judgement, Status
from pytest_smoltrace.schema.leaderboard import LEADERBOARD
from pytest_smoltrace.schema.summary import summary_schema
from pytest_smoltrace.schema.version import SUMMARY_VERSION
from tests.unit import summary_factory as make

SCHEMA = summary_schema()
PARTS = SCHEMA["$defs"]
JSON_TYPES = {"string": {"string"}, "int64": {"integer"}, "float64": {"number"}, "json": {"object"}}


def validator():
    kind = jsonschema.validators.validator_for(SCHEMA)
    kind.check_schema(SCHEMA)
    return kind(SCHEMA)


def whole(value):
    """Return a made-up summary with every key that a case and a run have."""
    value = json.loads(json.dumps(value))
    empty = dict.fromkeys(PARTS["case"]["required"]) | {"tags": []}
    for key in ("cases", "slowest", "dearest"):
        value[key] = [empty | one for one in value[key]]
    run = dict.fromkeys(PARTS["run"]["required"])
    texts = dict.fromkeys(("provider", "run_status", "run_stop_reason", "replay_mode"), "x")
    texts |= dict.fromkeys(("session_id", "run_id", "suite_hash"), "x")
    counts = dict.fromkeys(("planned_tests", "completed_tests"), 3)
    value["runs"] = [run | texts | counts | one for one in value["runs"]]
    return value


@pytest.mark.parametrize("made", [make.green, make.regression, make.inconclusive, make.summary])
def test_judged_sessions_are_valid(made):
    validator().validate(whole(made()))


def test_the_version_is_that_of_the_schema():
    value = whole(make.summary(summary_version=SUMMARY_VERSION))
    validator().validate(value)
    validator().validate(value | {"summary_version": "1.7", "key_of_1.7": 1})
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(value | {"summary_version": "2.0"})


@pytest.mark.parametrize(
    ("name", "kind", "more"),
    [
        ("gate", GateResult, ()),
        ("comparison", Comparison, ()),
        ("baseline", BaselineUsed, ()),
        ("judgement", Judgement, ("status", "exit_status")),
        ("side", Side, ()),
        ("step", Step, ()),
        ("divergence", Divergence, ()),
    ],
)
def test_every_field_is_described(name, kind, more):
    fields = {field.name for field in dataclasses.fields(kind)} | set(more)
    assert set(PARTS[name]["properties"]) == fields
    assert set(PARTS[name]["required"]) == fields


def test_flips_and_statuses_are_described():
    assert set(PARTS["flip"]["properties"]) == set(make.flip())
    assert set(PARTS["gate"]["properties"]["status"]["enum"]) == {*Status}
    kinds = Flip.__annotations__["kind"]
    assert kinds == "Kind"
    assert len(PARTS["flip"]["properties"]["kind"]["enum"]) == 4


def test_runs_are_rows_of_the_leaderboard():
    columns = {column.name: column for column in LEADERBOARD.columns}
    for name, described in PARTS["run"]["properties"].items():
        column, kinds = columns[name], described["type"]
        kinds = {kinds} if isinstance(kinds, str) else set(kinds)
        assert kinds - {"null"} == JSON_TYPES[column.type], name
        assert ("null" in kinds) is column.nullable, name


def test_everything_has_a_description():
    def walk(node, path=""):
        if isinstance(node, dict):
            if "properties" in node:
                assert node["description"].endswith((".", ")")), path
                for key, one in node["properties"].items():
                    ref = "$ref" in one or "description" in one or path.endswith("compared")
                    assert ref, f"{path}.{key}"
            for key, one in node.items():
                walk(one, f"{path}.{key}")

    walk(SCHEMA)


def set_at(value, path, new):
    *parents, last = path
    for key in parents:
        value = value[key]
    value[last] = new


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("session_id",), None),
        (("runs",), {}),
        (("runs", 0, "success_rate"), 101),
        (("runs", 0, "num_tests"), "60"),
        (("cases", 0, "outcome"), "green"),
        (("cases", 0, "tags"), None),
        (("slowest", 0, "scored"), 1),
        (("gates", "status"), "ok"),
        (("gates", "results", 0, "status"), "PASSED"),
        (("gates", "results", 1, "comparison", "kind"), "delta"),
        (("gates", "results", 0, "comparison"), []),
        (("gates", "baseline", "allowed"), "model"),
        (("gates", "flips", 0, "kind"), "flaky"),
        (("gates", "flips", 0, "candidate", "passed"), 1.5),
        (("gates", "flips", 0, "divergence", "text"), None),
    ],
)
def test_what_is_wrong_is_refused(path, new):
    value = whole(make.regression())
    set_at(value, path, new)
    with pytest.raises(jsonschema.ValidationError) as caught:
        validator().validate(value)
    assert [*caught.value.absolute_path][: len(path)] == [*path] or "gates" in path


def test_what_is_missing_is_refused():
    value = whole(make.regression())
    places = [
        value,
        value["runs"][0],
        value["cases"][0],
        value["gates"],
        value["gates"]["flips"][0],
    ]
    for place in places:
        for key in list(place):
            kept = place.pop(key)
            broken = copy.deepcopy(value)
            place[key] = kept
            with pytest.raises(jsonschema.ValidationError):
                validator().validate(broken)
