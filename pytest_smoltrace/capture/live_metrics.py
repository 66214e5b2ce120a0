"""The newest sample of each GPU, mirrored to the user's own OTLP receiver while cases run."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from pytest_smoltrace import __version__
from pytest_smoltrace.capture import live_instruments as live
from pytest_smoltrace.capture import otlp
from pytest_smoltrace.capture.sample_tail import SampleTail
from pytest_smoltrace.capture.tracing import SERVICE_NAME as OUR_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics.export import MetricExporter

    from pytest_smoltrace.capture.sample_tail import GpuTail
    from pytest_smoltrace.electricity import Electricity

TIMEOUT_S: Final = 5.0
"""How long one export may take, and so the end of the session for the last one."""
_HOPELESS_S: Final = 1.0
"""The same for the last one of a receiver that has never answered."""
_SCOPE: Final = "genai.gpu"
_LONGEST: Final = 200


class LiveMetrics:
    """A thread that reads the end of the file of samples and exports what it says.

    Its meter provider is its own, so that the user's global one is neither used nor replaced.
    The thread is not started again in processes that a test forks.
    """

    def __init__(self, tail: SampleTail, exporter: MetricExporter, resource: Resource) -> None:
        self._tail = tail
        self._exporter = exporter
        # As the SDK's own reader: the environment may prefer deltas.
        preferred = exporter._preferred_temporality  # noqa: SLF001
        self._reader = InMemoryMetricReader(preferred_temporality=preferred)
        self._provider = MeterProvider([self._reader], resource=resource, shutdown_on_exit=False)
        self._interval_s = otlp.interval_s()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._mirror, name="smoltrace-otlp", daemon=True)
        self._taken = self._failed = 0
        self._said = ""

    @classmethod
    def start(
        cls, samples_file: Path, *, run_id: str, electricity: Electricity, hw: bool
    ) -> LiveMetrics | Unsent | None:
        """Begin to mirror a file of samples; None when the environment names no receiver.

        Args:
            samples_file: Need not exist yet.
            run_id: Becomes an attribute of the resource.
            electricity: What a kilowatt-hour emits and costs.
            hw: Whether OpenTelemetry's conventions for hardware are followed as well.
        """
        if not otlp.is_wanted():
            return None
        try:
            exporter = otlp.exporter(TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - exporters raise what they like
            unusable = error
            return Unsent(f"{type(unusable).__name__}: {unusable}")
        mirror = cls(SampleTail(samples_file), exporter, _resource(run_id))
        mirror._begin(electricity, hw=hw)
        return mirror

    def _begin(self, electricity: Electricity, *, hw: bool) -> None:
        meter = self._provider.get_meter(_SCOPE, __version__)
        for one in live.seed_instruments(electricity):
            self._observe(meter, one, live.seed_attributes)
        for one in live.hw_instruments() if hw else ():
            self._observe(meter, one, live.hw_attributes)
        self._thread.start()

    def _observe(
        self,
        meter: Meter,
        one: live.LiveInstrument,
        attributes: Callable[[GpuTail, SampleTail], live.Attributes],
    ) -> None:
        create = getattr(meter, f"create_observable_{one.kind}")
        callback = partial(self._observations, one.value, attributes)
        create(one.name, callbacks=[callback], unit=one.unit, description=one.description)

    def _observations(
        self,
        value_of: live.Value,
        attributes: Callable[[GpuTail, SampleTail], live.Attributes],
        _options: CallbackOptions,
    ) -> Iterator[Observation]:
        """Yield what is known of each GPU."""
        now_ns = time.monotonic_ns()
        for gpu in self._tail.gpus:
            value = value_of(gpu, now_ns)
            if value is not None:
                yield Observation(value, attributes(gpu, self._tail))

    def _mirror(self) -> None:
        with suppress_instrumentation(), otlp.Quiet() as quiet:
            while not self._ended.wait(self._interval_s):
                self._export(quiet)
            self._export(quiet)
            self._exporter.shutdown()

    def _export(self, quiet: otlp.Quiet) -> None:
        """Send the newest values, where there are any."""
        self._tail.read()
        data = self._reader.get_metrics_data()
        if data is None:
            return
        if self._exporter.export(data) is MetricExportResult.SUCCESS:
            self._taken += 1
        else:
            self._failed += 1
            self._said = quiet.take()

    def stop(self) -> list[str]:
        """Export once more and return what went wrong, one line."""
        if self._ended.is_set():
            return []
        self._ended.set()
        hopeless = self._failed > 0 and self._taken == 0
        self._thread.join(_HOPELESS_S if hopeless else TIMEOUT_S)
        if is_late := self._thread.is_alive():
            self._exporter.shutdown()
        if not self._failed and not is_late:
            return []
        return [self._summary(self._failed + is_late)]

    def _summary(self, failed: int) -> str:
        return (
            f"live GPU metrics: {failed} of {failed + self._taken} exports to {otlp.place()} failed"
            f" ({otlp.reason(self._said)}); the datasets of the run have all samples"
        )


class Unsent:
    """Live metrics that the environment asks for in a way that cannot be."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def stop(self) -> list[str]:
        """Return why nothing was sent, one line."""
        reason = " ".join(self._reason.split())[:_LONGEST]
        return [f"live GPU metrics were not sent to {otlp.place()}: {reason}"]


def _resource(run_id: str) -> Resource:
    """Return the environment's resource, with a name of its own where it gives none."""
    found = Resource.create({"run_id": run_id})
    named = str(found.attributes.get(SERVICE_NAME, "unknown_service"))
    if not named.startswith("unknown_service"):
        return found
    return found.merge(Resource({SERVICE_NAME: OUR_NAME}))
