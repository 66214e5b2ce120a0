"""Which items are eval cases, in which variants, and what they declare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace import trials
from pytest_smoltrace.config import ModelSpec, RunConfig, Variant
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.facts import Declared
from pytest_smoltrace.marker import (
    AGENT_TYPES,
    TASK,
    VARIANT,
    check_marker,
    is_case,
    marked,
    texts,
)
from pytest_smoltrace.redaction import HIDDEN_CONTENT
from pytest_smoltrace.tasks import Task, load_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DECLARED = pytest.StashKey[Declared]()


def generate(metafunc: pytest.Metafunc, config: RunConfig) -> None:
    """Turn one test function into its variants, tasks and trials.

    Raises:
        ConfigError: A task file cannot be used.
    """
    if not is_case(metafunc):
        return
    _generate_variants(metafunc, config)
    trials.generate(metafunc, config.trials)


def _generate_variants(metafunc: pytest.Metafunc, config: RunConfig) -> None:
    kind = marked(metafunc.definition).get("agent_type")
    variants = _variants(config, kind if kind in AGENT_TYPES else None)
    tasks = tasks_of(metafunc)
    if tasks is None:
        if len(variants) > 1:
            _use(metafunc, VARIANT)
            names = [_label(variant, variants) for variant in variants]
            metafunc.parametrize(VARIANT, variants, ids=names, indirect=True)
        return
    rows = [
        (task, variant) for task in tasks for variant in _variants(config, task.agent_type or kind)
    ]
    names = [
        "-".join(filter(None, (task.id, _label(v, _variants(config, task.agent_type or kind)))))
        for task, v in rows
    ]
    _use(metafunc, VARIANT)
    _use(metafunc, TASK)
    metafunc.parametrize((TASK, VARIANT), rows, ids=names, indirect=True)


def tasks_of(metafunc: pytest.Metafunc) -> tuple[Task, ...] | None:
    """Return the rows of the files that the test names; None when it names none.

    Raises:
        ConfigError: A file cannot be used; names file, line and field.
    """
    marks = list(metafunc.definition.iter_markers("smoltrace_tasks"))
    if not marks:
        return None
    here = Path(metafunc.definition.path).parent
    rows: list[Task] = []
    for mark in marks:
        if not mark.args or mark.kwargs or not all(str(a).strip() for a in mark.args):
            raise ConfigError(
                f"{metafunc.definition.nodeid}: @pytest.mark.smoltrace_tasks takes file names, "
                'as in @pytest.mark.smoltrace_tasks("tasks.jsonl")'
            )
        for source in mark.args:
            rows += load_tasks(str(source), base=here)
    return tuple(rows)


def declare(items: Sequence[pytest.Item], config: RunConfig) -> tuple[Declared, ...]:
    """Note on every eval case what it declares; return the declarations in item order.

    Raises:
        ConfigError: A marker is wrong, or two models or two cases have one id.
    """
    _refuse_twin_models(config.models)
    found = []
    for item in items:
        if not is_case(item):
            continue
        for mark in item.iter_markers("smoltrace"):
            check_marker(mark, item.nodeid)
        trials.check_trials(item, config.trials)
        declared = item.stash[DECLARED] = _declared(item, config)
        found.append(declared)
    _refuse_duplicates(found)
    return tuple(found)


def planned(items: Sequence[pytest.Item]) -> tuple[Declared, ...]:
    """Return the declarations of the selected eval cases."""
    return tuple(item.stash[DECLARED] for item in items if DECLARED in item.stash)


def variant_of(item: pytest.Item, config: RunConfig) -> Variant:
    """Return the cell of the matrix that the item runs in."""
    callspec = getattr(item, "callspec", None)
    if callspec is not None and VARIANT in callspec.params:
        variant: Variant = callspec.params[VARIANT]
        return variant
    return _variants(config, marked(item).get("agent_type"))[0]


def task_of(item: pytest.Item) -> Task | None:
    """Return the task row that the item runs; None when it has none."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get(TASK) if callspec is not None else None


def _declared(item: pytest.Item, config: RunConfig) -> Declared:
    marks = marked(item)
    variant, trial = variant_of(item, config), trials.trial_of(item)
    declared = Declared(
        case_id=_case_id(item, marks, trial.params),
        nodeid=item.nodeid,
        trial=trial.index,
        trials=trial.count,
        model=model_name(variant.model),
        agent_type=variant.agent_type,
        difficulty=marks.get("difficulty"),
        category=marks.get("category"),
        tags=marks["tags"],
        expected_tool=marks.get("expected_tool"),
        expected_tool_calls=marks.get("expected_tool_calls"),
        expected_keywords=texts(marks.get("expected_keywords", ())),
        max_steps=marks.get("max_steps"),
        allow_max_steps=marks.get("allow_max_steps", False),
        timeout_s=marks.get("timeout"),
        max_cost_usd=marks.get("max_cost"),
        max_tokens=marks.get("max_tokens"),
        max_total_steps=marks.get("max_total_steps"),
        role=marks.get("role"),
    )
    task = task_of(item)
    if task is None:
        return declared
    return _with_task(declared, task, HIDDEN_CONTENT if config.hide_content else task.prompt)


def model_name(spec: ModelSpec) -> str:
    """Return the model id that the built model will have."""
    if spec.provider == "local":
        from pytest_smoltrace.capture.weights import model_id

        return model_id(spec.model_id or "local")
    from pytest_smoltrace.capture.model_identity import recorded_id

    return recorded_id(spec.model_id) if spec.model_id else str(spec)


def _with_task(declared: Declared, task: Task, prompt: str) -> Declared:
    return replace(
        declared,
        prompt=prompt,
        difficulty=task.difficulty or declared.difficulty,
        expected_tool=task.expected_tool or declared.expected_tool,
        expected_tool_calls=task.expected_tool_calls or declared.expected_tool_calls,
        expected_keywords=task.expected_keywords or declared.expected_keywords,
        dataset=task.source,
        dataset_revision=task.revision,
    )


def _case_id(item: pytest.Item, marks: Mapping[str, Any], params: str) -> str:
    task, declared = task_of(item), marks.get("id")
    if task is not None:
        inner = "-".join(filter(None, (task.id, params)))
        plain = f"{task.id}[{params}]" if params else task.id
        return plain if declared is None else f"{declared}[{inner}]"
    if declared is not None:
        own = [m for m in getattr(getattr(item, "callspec", None), "marks", ()) if "id" in m.kwargs]
        return str(declared) if own or not params else f"{declared}[{params}]"
    base = item.nodeid.partition("[")[0]
    return f"{base}[{params}]" if params else base


def _variants(config: RunConfig, kind: str | None) -> tuple[Variant, ...]:
    kinds: Iterable[str] = config.agent_types
    if kind is not None:
        kinds = ("tool", "code") if kind == "both" else (kind,)
    return tuple(Variant(model=m, agent_type=k) for m in config.models for k in kinds)


def _label(variant: Variant, among: Sequence[Variant]) -> str:
    models = {v.model for v in among}
    kinds = {v.agent_type for v in among}
    parts = [str(variant.model)] * (len(models) > 1) + [variant.agent_type] * (len(kinds) > 1)
    return "-".join(parts)


def _use(metafunc: pytest.Metafunc, name: str) -> None:
    if name not in metafunc.fixturenames:
        metafunc.fixturenames.append(name)


def _refuse_twin_models(models: Iterable[ModelSpec]) -> None:
    # A run in the datasets is a session, a model id and an agent type.
    seen: dict[str, ModelSpec] = {}
    for model in models:
        other = seen.setdefault(model_name(model), model)
        if other is not model:
            raise ConfigError(
                f"--smoltrace-model: {other} and {model} have the same model id and could not be "
                "told apart in the datasets; evaluate them in two runs"
            )


def _refuse_duplicates(declared: Iterable[Declared]) -> None:
    seen: dict[tuple[str, str | None, str | None, int], Declared] = {}
    for one in declared:
        key = (one.case_id, one.model, one.agent_type, one.trial)
        other = seen.setdefault(key, one)
        if other.nodeid != one.nodeid:
            raise ConfigError(
                f"{one.nodeid} and {other.nodeid} have the same case id {one.case_id!r}; "
                "give one of them another id"
            )
