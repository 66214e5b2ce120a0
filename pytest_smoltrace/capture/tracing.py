"""The tracer provider and the store that hands a case its own finished spans.

A provider that the user has set is used, never replaced; ours is set only where there is none.
"""

from __future__ import annotations

import random
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from pytest_smoltrace import __version__
from pytest_smoltrace.raw_span import RawSpan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import Event
    from opentelemetry.util.types import Attributes

SCOPE = "pytest_smoltrace"
SERVICE_NAME = "pytest-smoltrace"
# The SDK drops the oldest attributes beyond 128, which are the first messages of a prompt.
MAX_ATTRIBUTES = 100_000
# Spans of foreign traces that may be kept while one case runs.
MAX_STRAYS = 10_000


class SystemIds(RandomIdGenerator):
    """Ids that neither depend on a seed that a test sets nor take numbers from its sequence."""

    # With the SDK's own, tests that pytest-randomly seeds alike have one trace id.
    _source = random.SystemRandom()

    def generate_span_id(self) -> int:
        """Return a number of 64 bits that is not 0."""
        return self._source.randrange(1, 1 << 64)

    def generate_trace_id(self) -> int:
        """Return a number of 128 bits that is not 0."""
        return self._source.randrange(1, 1 << 128)


class SpanStore(SpanProcessor):
    """Finished spans by trace id, for the traces that are open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, list[ReadableSpan]] = {}
        self._strays: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """Do nothing: only finished spans count."""

    def on_end(self, span: ReadableSpan) -> None:
        """Keep the span with its trace, or apart when its trace is not open."""
        if not self._open:
            return
        with self._lock:
            spans = self._open.get(span.context.trace_id)
            if spans is not None:
                spans.append(span)
            elif len(self._strays) < MAX_STRAYS:
                self._strays.append(span)

    def open(self, trace_id: int) -> None:
        """Start to keep the spans of a trace."""
        with self._lock:
            self._open[trace_id] = []
            self._strays.clear()

    def peek(self, trace_id: int) -> list[ReadableSpan]:
        """Return the spans of an open trace that have finished so far."""
        with self._lock:
            return list(self._open.get(trace_id, ()))

    def take(self, trace_id: int) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
        """Close a trace; return its spans and those of foreign traces seen meanwhile."""
        with self._lock:
            strays, self._strays = self._strays, []
            return self._open.pop(trace_id, []), strays

    def shutdown(self) -> None:
        """Forget everything."""
        with self._lock:
            self._open.clear()
            self._strays.clear()


def provider_for(store: SpanStore) -> trace.TracerProvider:
    """Return the provider in force with `store` attached; set ours where there is none."""
    current = trace.get_tracer_provider()
    if not isinstance(current, TracerProvider):
        trace.set_tracer_provider(
            TracerProvider(
                # A sampler from the environment would leave cases without their spans.
                sampler=ALWAYS_ON,
                id_generator=SystemIds(),
                resource=Resource.create({"service.name": SERVICE_NAME}),
                span_limits=SpanLimits(max_span_attributes=MAX_ATTRIBUTES),
            )
        )
        current = trace.get_tracer_provider()
    add = getattr(current, "add_span_processor", None)
    if add is not None:
        add(store)
    return current


def tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    """Return the plugin's own tracer, whose ids no seed repeats whatever the provider's are."""
    tracer = trace.get_tracer(SCOPE, __version__, tracer_provider=provider)
    # Other generators give ids a form that somebody's backend asks for.
    if isinstance(tracer, SdkTracer) and type(tracer.id_generator) is RandomIdGenerator:
        tracer.id_generator = SystemIds()
    return tracer


def raw_span(span: ReadableSpan, *, orphan: bool = False) -> RawSpan:
    """Return a finished span as a plain value."""
    parent, started, status = span.parent, span.start_time or 0, span.status
    scope, events, links = span.instrumentation_scope, span.events, span.links
    return RawSpan(
        span_id=f"{span.context.span_id:016x}",
        parent_id=f"{parent.span_id:016x}" if parent is not None else None,
        name=span.name,
        kind=span.kind.name,
        start_unix_ns=started,
        end_unix_ns=max(span.end_time or 0, started),
        status=status.status_code.name,
        description=status.description,
        scope=scope.name if scope else "",
        attributes=_plain(span.attributes),
        events=tuple(map(_event, events)) if events else (),
        links=tuple(map(_link, links)) if links else (),
        orphan=orphan,
    )


def _event(event: Event) -> tuple[str, int, Mapping[str, Any]]:
    return event.name, event.timestamp, _plain(event.attributes)


def _link(link: trace.Link) -> tuple[str, str, Mapping[str, Any]]:
    target = link.context
    return f"{target.trace_id:032x}", f"{target.span_id:016x}", _plain(link.attributes)


def _plain(attributes: Attributes) -> Mapping[str, Any]:
    """Return attributes as a dict: the SDK's own mapping answers in Python and is read often."""
    if isinstance(attributes, MappingProxyType):
        return attributes.copy()  # copies at once what dict() would ask for key by key
    return dict(attributes or {})


def is_recording(span: trace.Span) -> bool:
    """Return whether spans of this trace are recorded at all."""
    return isinstance(span, SdkSpan) and span.is_recording()
