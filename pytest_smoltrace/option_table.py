"""The table of options: what each is called, means and accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace import config as settings
from pytest_smoltrace import option_values as values
from pytest_smoltrace.option_values import Number

if TYPE_CHECKING:
    from collections.abc import Callable


def text(value: str) -> str:
    """Return the text as it is."""
    return value


@dataclass(frozen=True, slots=True)
class Option:
    """One option; flag, ini key and environment variable follow from its name."""

    name: str
    metavar: str | None
    """Placeholder of the value; None for a switch."""
    help: str
    parse: Callable[[str], Any] = text
    default: Any = None
    repeats: bool = False
    separators: str = "\n"
    """Characters that part the values of a repeatable option in its environment variable."""
    negative: bool = False
    """Whether a switch also has a --smoltrace-no- flag."""

    @property
    def dest(self) -> str:
        """Name of the ini key and of the attribute of the parsed command line."""
        return f"smoltrace_{self.name}"

    @property
    def env(self) -> str:
        """Environment variable."""
        return self.dest.upper()

    @property
    def flag(self) -> str:
        """Command-line flag."""
        return f"--{self.dest.replace('_', '-')}"

    @property
    def flags(self) -> str:
        """The flags as one types them."""
        if self.metavar:
            return f"{self.flag}={self.metavar}"
        return f"{self.flag} / {self.negative_flag}" if self.negative else self.flag

    @property
    def negative_flag(self) -> str:
        """Flag that switches the option off."""
        return self.flag.replace("--smoltrace-", "--smoltrace-no-")


_POSITIVE = Number(kind=int, low=1)
_COUNT = Number(kind=int, low=0)
_SECONDS = Number(kind=float, low=0, low_excluded=True)
_PENALTY = Number(kind=float, low=-2, high=2)
_FSYNC = values.one_of("off", "interval", "case")
_GPU = values.one_of("auto", "on", "off")
_INTERVAL = Number(kind=float, low=0.02, high=10)
_SHARE = Number(kind=float, low=0, high=1, low_excluded=True)
_KIND = values.one_of("tool", "code", "both")
_PURPOSE = values.one_of("selection", "regression", "monitoring")
_MODEL_HELP = (
    "Model to evaluate: PROVIDER:MODEL-ID, a bare id with --smoltrace-provider, or local for the"
    " embedded model. Repeatable: a matrix of models."
)
_MODEL_ARG_HELP = (
    "Further argument of the smolagents model class, JSON where it can be read as such. Repeatable."
)
_CASE_TIMEOUT_HELP = (
    "Time limit of the test function of a case; @pytest.mark.smoltrace(timeout=) comes before it."
)
_REQUEST_TIMEOUT_HELP = "Time limit of one LLM request, the client's own retries included."
_CONCURRENCY_HELP = "Requests under way at one endpoint at a time, all workers of a host together."
_RETRIES_HELP = "How often a call that met a rate limit or an overloaded server is sent again."
_HIDE_HELP = "Replace prompts and answers before they are recorded."
_RESUME_HELP = "Run what this earlier run has not finished, in place: a directory, an id, or last."
_SHARD_HELP = "Run only part I of N; pytest-smoltrace merge joins the runs."
_DURATIONS_HELP = "Earlier run whose durations balance the shards: a run directory, an id, or last."
_HOSTS_HELP = "Hosts whose workers run the cases: a TOML file, in place of -n."
_GPUS_HELP = "GPUs of each worker; 0 hides them."
_GPU_HELP = "Whether to measure the visible GPUs: auto (when the model may run on them), on or off."
_INTERVAL_HELP = "Time from one sample of a GPU to the next."
_COUNTRY_HELP = "Country of the GPUs, by its ISO 3166 code, whose carbon intensity is used."
_CARBON_HELP = "Grams of CO2 equivalent of a kilowatt-hour, instead of a country's."
_PRICE_HELP = "Price of a kilowatt-hour in USD; 0.12 when not given."
_PUE_HELP = "Power usage effectiveness of the site: its energy over that of its computers."
_HW_HELP = "Send live GPU metrics also by the names of OpenTelemetry's hardware conventions."
_FSYNC_HELP = (
    "When the journal is forced to the disk, for a failure of power: off, interval (a second or"
    " more apart) or case."
)
_TRIALS_HELP = "How often each case is run, each time as an item of its own."
_K_HELP = "k of pass@k and pass^k in the leaderboard; the number of trials when not given."
_GATE_HELP = "Condition that the run has to meet, as in 'success_rate >= 80%'. Repeatable."
_BASELINE_HELP = (
    "Earlier run to compare with: an id, last, last-green, a saved baseline, a directory, a Parquet"
    " or summary.json file, git:REV:PATH or hub:OWNER/NAME."
)
_MARGIN_HELP = "Drop of the success rate that is tolerated, in percentage points, as in 5pp."
_POWER_HELP = "Probability with which a drop of the margin has to be visible for a PASS."
_MISMATCH_HELP = (
    "What may differ from the baseline: suite, model, agent_type, settings, replay or hardware."
    " Repeatable."
)
_INCONCLUSIVE_HELP = "Whether an inconclusive comparison fails the session: fail or warn."
_MISSING_HELP = "Whether a missing baseline fails the session: fail (default in CI) or warn."
_GATES_HELP = "Judge the gates."
_GATE_ONLY_HELP = "Let gates alone decide the exit code: failed cases are data."
_CI_HELP = "Reports for a CI system: auto (those that it is found to be), github, gitlab or off."
_LEVEL = values.one_of("fail", "warn")
_CI = values.one_of("auto", "github", "gitlab", "off")
_STREAM_HELP = "Stream answers wherever the model can, which times the first token."

OPTIONS: tuple[Option, ...] = (
    Option("model", "SPEC", _MODEL_HELP, repeats=True, separators=",\n"),
    Option("provider", "NAME", f"Provider of bare model ids: {', '.join(settings.PROVIDERS)}."),
    Option("base_url", "URL", "Address of the model's API.", values.base_url),
    Option("agent_type", "TYPE", "Agents to build: tool, code or both.", _KIND, default="tool"),
    Option("stream", None, _STREAM_HELP, values.switch, default=True, negative=True),
    Option("temperature", "T", "Sampling temperature.", Number(kind=float, low=0)),
    Option("top_p", "P", "Nucleus sampling, above 0 and up to 1.", _SHARE),
    Option("max_tokens", "N", "Longest answer of one call in tokens.", _POSITIVE),
    Option("frequency_penalty", "X", "Penalty on frequent tokens, -2 to 2.", _PENALTY),
    Option("presence_penalty", "X", "Penalty on tokens that occurred, -2 to 2.", _PENALTY),
    Option("seed", "N", "Sampling seed that is sent to the model.", Number(kind=int)),
    Option("reasoning_effort", "LEVEL", "Reasoning effort, as the provider names it."),
    Option("model_arg", "KEY=VALUE", _MODEL_ARG_HELP, values.model_arg, repeats=True),
    Option("max_steps", "N", "Step limit of an agent.", _POSITIVE),
    Option("case_timeout", "SECONDS", _CASE_TIMEOUT_HELP, _SECONDS),
    Option("request_timeout", "SECONDS", _REQUEST_TIMEOUT_HELP, _SECONDS),
    Option("tool_timeout", "SECONDS", "Time limit of one tool call.", _SECONDS),
    Option("budget_usd", "USD", "What the LLM calls of the session may cost together.", _SECONDS),
    Option("budget_tokens", "N", "Tokens that the session may use together.", _POSITIVE),
    Option("max_concurrency", "N", _CONCURRENCY_HELP, _POSITIVE),
    Option("max_retries", "N", _RETRIES_HELP, _COUNT, default=6),
    Option("trials", "N", _TRIALS_HELP, _POSITIVE),
    Option("pass_k", "K", _K_HELP, _POSITIVE),
    Option("gate", "[NAME=]EXPR", _GATE_HELP, repeats=True),
    Option("gates", None, _GATES_HELP, values.switch, default=True, negative=True),
    Option("gate_only", None, _GATE_ONLY_HELP, values.switch, default=False),
    Option("baseline", "REF", _BASELINE_HELP),
    Option("baseline_missing", "LEVEL", _MISSING_HELP, _LEVEL),
    Option("margin", "PP", _MARGIN_HELP, values.points, default="5pp"),
    Option("power", "P", _POWER_HELP, Number(kind=float, low=0.5, high=0.99), default=0.8),
    Option("inconclusive", "LEVEL", _INCONCLUSIVE_HELP, _LEVEL, default="warn"),
    Option(
        "allow_mismatch", "WHAT", _MISMATCH_HELP, values.mismatch, repeats=True, separators=",\n"
    ),
    Option("ci", "SYSTEM", _CI_HELP, _CI, default="auto"),
    Option("dir", "DIR", "Folder that runs are stored in.", default=".smoltrace"),
    Option("run_id", "ID", "Name of this run instead of a generated one.", values.run_id),
    Option("resume", "RUN", _RESUME_HELP),
    Option("shard", "I/N", _SHARD_HELP, values.shard),
    Option("shard_durations", "RUN", _DURATIONS_HELP),
    Option("hosts", "FILE", _HOSTS_HELP),
    Option("gpus_per_worker", "N", _GPUS_HELP, _COUNT, default=1),
    Option("gpu", "WHEN", _GPU_HELP, _GPU, default="auto"),
    Option("gpu_interval", "SECONDS", _INTERVAL_HELP, _INTERVAL, default=0.1),
    Option("country", "CODE", _COUNTRY_HELP),
    Option("carbon_intensity", "G", _CARBON_HELP, Number(kind=float, low=0)),
    Option("power_price", "USD", _PRICE_HELP, Number(kind=float, low=0)),
    Option("pue", "X", _PUE_HELP, Number(kind=float, low=1), default=1.0),
    Option("hw_metrics", None, _HW_HELP, values.switch, default=False),
    Option("fsync", "WHEN", _FSYNC_HELP, _FSYNC, default="interval"),
    Option("prices", "FILE", "Price file, TOML or JSON, in USD per million tokens."),
    Option("submitted_by", "NAME", "Who submits the run to a leaderboard."),
    Option("notes", "TEXT", "Note on the run.", default=""),
    Option("suite_version", "TEXT", "Version of the suite."),
    Option("use_case", "TEXT", "Use case that the suite stands for."),
    Option("team", "TEXT", "Team that owns the run."),
    Option("purpose", "WORD", "Why: selection, regression or monitoring.", _PURPOSE),
    Option("hardware", "TEXT", "Label of the hardware instead of the detected one."),
    Option("hide_content", None, _HIDE_HELP, values.switch, default=False),
)
