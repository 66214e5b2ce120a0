"""genai-otel-instrument and OpenInference, started through their instrumentor classes only.

No exporter, no second provider, no network and no console output comes with them. The model
tap gives every LLM span, so OpenInference's wrappers of model classes are bypassed (see
`model_tap.ModelTap.install`): they would repeat the message history of each call.
genai-otel's openai instrumentor covers clients that are used without a smolagents model.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


class Instrumentors:
    """The instrumentors of one session."""

    def __init__(self) -> None:
        self._smolagents: Any = None

    def start(self, provider: TracerProvider, *, hide_content: bool) -> None:
        """Instrument smolagents' agents and tools."""
        from openinference.instrumentation import TraceConfig
        from openinference.instrumentation.smolagents import SmolagentsInstrumentor

        instrumentor = SmolagentsInstrumentor()
        if instrumentor.is_instrumented_by_opentelemetry:
            return  # the user's own instrumentation already gives the spans
        instrumentor.instrument(
            tracer_provider=provider,
            config=TraceConfig(
                hide_inputs=hide_content,
                hide_outputs=hide_content,
                hide_llm_invocation_parameters=hide_content,
            ),
            skip_dep_check=True,
        )
        self._smolagents = instrumentor

    def stop(self) -> None:
        """Take the wrappers off again, as far as their libraries can."""
        if self._smolagents is not None:
            self._smolagents.uninstrument()
            self._smolagents = None


def start_openai() -> None:
    """Instrument the openai client, once it has been imported: many suites never do."""
    try:
        from genai_otel import OTelConfig
        from genai_otel.instrumentors.openai_instrumentor import OpenAIInstrumentor
    except ImportError:
        return
    # The endpoint is never used: exporters are built by genai_otel.instrument() alone.
    config = OTelConfig(
        endpoint="",
        enabled_instrumentors=["openai"],
        enable_cost_tracking=False,
        enable_gpu_metrics=False,
        enable_content_capture=False,
    )
    # Its own start-up notes are of no use to somebody who runs tests.
    logging.getLogger("genai_otel").setLevel(logging.ERROR)
    OpenAIInstrumentor().instrument(config=config)  # type: ignore[no-untyped-call]
