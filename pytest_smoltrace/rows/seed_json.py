"""The points of runs in the nesting and the unit spellings that the seed asks for."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.rows.points import GPU_SCOPE, OWN_SCOPE, scope_of
from pytest_smoltrace.schema.instruments import INSTRUMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_smoltrace.rows.points import Labels, Point
    from pytest_smoltrace.schema.instruments import Instrument

_SEED_UNITS = {
    "MiBy": "MiB",
    "W": "Watts",
    "s": "seconds",
    "g{CO2e}": "gCO2e",
    "W.h": "Wh",
    "{token}": "tokens",
    "{test}": "tests",
    "{call}": "calls",
    "{step}": "steps",
    "{request}": "requests",
    "{error}": "errors",
}


SERIES_POINTS = 3600
"""Most points of a time series; a longer one is thinned out, the `points` table has them all."""
_SUM = {"aggregationTemporality": 2, "isMonotonic": True}
"""Cumulative, in OTLP's numbers."""
_KINDS = {instrument.name: instrument for instrument in INSTRUMENTS}


@dataclass(slots=True)
class SeedJson:
    """The value of metrics.json: one object a run; fed with points."""

    service_name: str
    _runs: dict[str, _RunJson] = field(default_factory=dict)

    def add(self, points: Iterable[Point]) -> None:
        """Take points of any kind; time series only of runs with GPU."""
        for point in points:
            run = self._runs.setdefault(point.owner.run_id, _RunJson())
            if point.owner.point_kind == "aggregate":
                run.add_aggregate(point)
            else:
                run.add_series(point)

    @property
    def value(self) -> list[dict[str, Any]]:
        """The objects of all runs."""
        return [
            {
                "run_id": run_id,
                "aggregates": list(run.aggregates.values()),
                "resourceMetrics": run.resource_metrics(self.service_name),
            }
            for run_id, run in self._runs.items()
        ]


@dataclass(slots=True)
class _Series:
    """A time series of bounded length."""

    start_unix_ns: int = 0
    times: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    last: tuple[int, float] | None = None
    """The last point where it is not kept; sums end with it."""
    step: int = 1
    seen: int = 0

    def add(self, point: Point) -> None:
        """Keep the point, or every n-th one of a long series."""
        self.start_unix_ns = point.owner.start_time_unix_nano
        time, value = point.owner.time_unix_nano, point.value or 0.0
        self.last = time, value
        if self.seen % self.step == 0:
            self.times.append(time)
            self.values.append(value)
            self.last = None
        self.seen += 1
        if len(self.times) >= SERIES_POINTS:
            self.times, self.values = self.times[::2], self.values[::2]
            self.step *= 2

    def points(self) -> Iterator[tuple[int, float]]:
        """Yield time and value of the points."""
        yield from zip(self.times, self.values, strict=True)
        if self.last is not None:
            yield self.last


@dataclass(slots=True)
class _RunJson:
    aggregates: dict[str, dict[str, Any]] = field(default_factory=dict)
    hosts: dict[str | None, dict[str, dict[Labels, _Series]]] = field(default_factory=dict)
    """Host -> metric -> labels -> points."""

    def add_aggregate(self, point: Point) -> None:
        kind = _KINDS[point.metric]
        entry = self.aggregates.setdefault(
            point.metric, {"name": kind.name, "type": kind.type, "unit": _unit(kind)}
        )
        entry.setdefault("data_points", []).append(_data_point(point))

    def add_series(self, point: Point) -> None:
        metrics = self.hosts.setdefault(point.owner.host, {})
        series = metrics.setdefault(point.metric, {}).setdefault(point.labels, _Series())
        series.add(point)

    def resource_metrics(self, service_name: str) -> list[dict[str, Any]]:
        """Return the time series in OTLP's form, nothing without GPU."""
        return [
            {
                "resource": {"attributes": _attributes(_resource(service_name, host))},
                "scopeMetrics": [
                    {"scope": {"name": scope}, "metrics": found}
                    for scope in (GPU_SCOPE, OWN_SCOPE)
                    if (found := _of(metrics, scope))
                ],
            }
            for host, metrics in self.hosts.items()
            if any(scope_of(name) == GPU_SCOPE for name in metrics)
        ]


def _resource(service_name: str, host: str | None) -> dict[str, str]:
    named = {} if host is None else {"host.name": host}
    return {"service.name": service_name} | named


def _of(metrics: Mapping[str, Mapping[Labels, _Series]], scope: str) -> list[dict[str, Any]]:
    return [
        _otlp_metric(_KINDS[name], series)
        for name, series in metrics.items()
        if scope_of(name) == scope
    ]


def _otlp_metric(kind: Instrument, series: Mapping[Labels, _Series]) -> dict[str, Any]:
    gauge = kind.type == "gauge"
    data: dict[str, Any] = {} if gauge else _SUM.copy()
    data["dataPoints"] = [
        begun | point
        for labels, found in series.items()
        for begun in ({} if gauge else {"startTimeUnixNano": str(found.start_unix_ns)},)
        for point in _otlp_points(labels, found)
    ]
    return {"name": kind.name, "unit": _unit(kind), "gauge" if gauge else "sum": data}


def _otlp_points(labels: Labels, series: _Series) -> Iterator[dict[str, Any]]:
    attributes = _attributes(orjson.loads(labels.attributes))
    for time, value in series.points():
        yield {"attributes": attributes, "timeUnixNano": str(time), "asDouble": value}


def _attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def _unit(kind: Instrument) -> str:
    return _SEED_UNITS.get(kind.unit, kind.unit)


def _data_point(point: Point) -> dict[str, Any]:
    found = point.histogram
    value: Any = point.value
    if found is not None:
        value = {"sum": found.sum, "count": found.count, "avg": found.avg}
        value["buckets"] = {"bounds": found.bucket_bounds, "counts": found.bucket_counts}
    return {"value": value, "attributes": orjson.loads(point.labels.attributes)}
