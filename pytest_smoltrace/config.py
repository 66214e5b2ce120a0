"""What the user asked for, read once and then frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.electricity import Electricity
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model to evaluate: a provider of the provider table and its model id."""

    provider: str
    model_id: str

    def __str__(self) -> str:
        """Return the spec as it is typed."""
        return f"{self.provider}:{self.model_id}" if self.model_id else self.provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One cell of the matrix: a model and an agent type."""

    model: ModelSpec
    agent_type: str
    """tool or code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Generation settings that the user asked for; None is the provider's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    reasoning_effort: str | None = None

    def requested(self) -> dict[str, Any]:
        """Return the settings that were asked for, by name."""
        named = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in named if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how much a session may take; None is no limit."""

    case_timeout: float | None = None
    """Seconds of the call phase of a test; the marker's `timeout` comes before it."""
    request_timeout: float | None = None
    """Seconds of one LLM request, the client's own retries included."""
    tool_timeout: float | None = None
    """Seconds of one tool call."""
    budget_usd: float | None = None
    """USD that all LLM calls of the session may cost together."""
    budget_tokens: int | None = None
    """Tokens that all LLM calls of the session may use together."""
    max_concurrency: int | None = None
    """Requests that may be under way at one endpoint at the same time, all workers together."""
    max_retries: int = 6
    """How often a call that met a rate limit or an overload is sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """One gate as the user wrote it."""

    name: str | None
    """None for one that was not named."""
    text: str
    place: str
    """Where it was written, for messages."""
    level: str | None = None
    """fail or warn, when given apart from the expression."""
    min_n: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How a finished run is judged."""

    gates: tuple[GateSpec, ...] = ()
    enabled: bool = True
    """False to judge nothing though there are gates."""
    gate_only: bool = False
    baseline: str | None = None
    baseline_missing: str | None = None
    """fail or warn; None is fail in CI and warn elsewhere."""
    margin: float = 0.05
    """Drop of the success rate that is tolerated, as a fraction."""
    power: float = 0.8
    alpha: float = 0.05
    """One-sided rate of false alarms of the whole family of gates."""
    inconclusive: str = "warn"
    allow_mismatch: tuple[str, ...] = ()
    ci: str = "auto"

    @property
    def asked(self) -> bool:
        """Whether there is anything to judge by."""
        return self.enabled and bool(self.gates or self.baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One part of a suite that several sessions share."""

    index: int
    """1-based."""
    count: int

    def __str__(self) -> str:
        """Return the shard as it is typed."""
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The effective options of a session."""

    models: tuple[ModelSpec, ...]
    agent_types: tuple[str, ...] = ("tool",)
    base_url: str | None = None
    stream: bool = True
    generation: Generation = field(default_factory=Generation)
    model_args: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    trials: int | None = None
    """Trials of each case; the marker's `trials` comes before it."""
    pass_k: int | None = None
    judging: Judging = field(default_factory=Judging)
    limits: Limits = field(default_factory=Limits)
    directory: Path = Path(".smoltrace")
    run_id: str | None = None
    resume: str | None = None
    """Run directory, id, unique start of one, or last."""
    shard: Shard | None = None
    shard_durations: str | None = None
    """Earlier run whose durations balance the shards."""
    hosts: Path | None = None
    gpus_per_worker: int = 1
    fsync: str = "interval"
    """off, interval or case."""
    gpu: str = "auto"
    """auto, on or off: whether GPUs are measured."""
    gpu_interval: float = 0.1
    """Seconds from one sample to the next."""
    hw_metrics: bool = False
    """Whether live metrics also go by the names of OpenTelemetry's hardware conventions."""
    electricity: Electricity = field(default_factory=Electricity)
    prices: Path | None = None
    submitted_by: str | None = None
    notes: str = ""
    suite_version: str | None = None
    use_case: str | None = None
    team: str | None = None
    purpose: str | None = None
    hardware: str | None = None
    hide_content: bool = False
    origins: Mapping[str, str] = field(default_factory=dict)
    """Option name -> flag, environment, ini or default."""
    shown: Mapping[str, Any] = field(default_factory=dict)
    """Option name -> value as it may be shown and stored, secrets removed."""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Every model with every agent type, models outermost."""
        return tuple(
            Variant(model=model, agent_type=kind)
            for model in self.models
            for kind in self.agent_types
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What the options need to know about a provider before anything of it is imported."""

    package: str
    """Module that must be importable."""
    extra: str | None = None
    """Extra of this distribution that brings the package; None when `package` names it."""
    api_key_env: tuple[str, ...] | None = None
    """Environment variables of which one must hold a key; None when no key is needed or
    the provider's client finds its credentials in several ways."""
    base_url: bool = False
    """Whether a base URL applies."""
    needs_model_id: bool = True

    @property
    def requirement(self) -> str:
        """What to install when the package is missing."""
        return f"pytest-smoltrace[{self.extra}]" if self.extra else self.package


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider(package="openai", api_key_env=("OPENAI_API_KEY",), base_url=True),
    "litellm": Provider(package="litellm", extra="litellm", base_url=True),
    "inference": Provider(package="huggingface_hub", base_url=True),
    "transformers": Provider(package="transformers", extra="transformers"),
    "vllm": Provider(package="vllm", extra="vllm"),
    "ollama": Provider(package="openai", base_url=True),
    "azure": Provider(package="openai", api_key_env=("AZURE_OPENAI_API_KEY",), base_url=True),
    "bedrock": Provider(package="boto3"),
    "local": Provider(package="xllamacpp", extra="local", needs_model_id=False),
}


def model_spec(text: str, provider: str | None, known: Collection[str]) -> ModelSpec:
    """Return the model that PROVIDER:MODEL-ID, or a bare id for `provider`, names."""
    name, colon, model_id = text.partition(":")
    if colon and name in known:
        if not model_id:
            raise ConfigError(f"{text!r} has no model id; write {name}:MODEL-ID")
        return ModelSpec(provider=name, model_id=model_id)
    alone = PROVIDERS.get(text)
    if alone and not alone.needs_model_id and provider in {None, text}:
        return ModelSpec(provider=text, model_id="")
    if colon and not name:
        raise ConfigError(f"{text!r} has no provider; write PROVIDER{text}")
    if provider is None:
        raise ConfigError(_without_provider(text, name, known))
    return ModelSpec(provider=provider, model_id=text)


def _without_provider(text: str, name: str, known: Collection[str]) -> str:
    """Say what is wrong with a spec that names no known provider."""
    if text in known:
        return f"{text!r} has no model id; write {text}:MODEL-ID"
    hint = did_you_mean(name, known) or "; write PROVIDER:MODEL-ID"
    return f"{text!r} names no known provider{hint} ({', '.join(known)})"
