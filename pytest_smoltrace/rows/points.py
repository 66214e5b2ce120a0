"""Points of the long metrics table, collected as columns."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pytest_smoltrace.attempt import to_json
from pytest_smoltrace.schema.instruments import INSTRUMENTS
from pytest_smoltrace.schema.reductions import total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_METRIC = {instrument.name: index for index, instrument in enumerate(INSTRUMENTS)}
GPU_SCOPE = "genai.gpu"
OWN_SCOPE = "pytest_smoltrace"
_GPU_METRICS = ("gen_ai.gpu.", "gen_ai.co2.", "gen_ai.power.")


def scope_of(metric: str) -> str:
    """Return the instrumentation scope of a metric."""
    return GPU_SCOPE if metric.startswith(_GPU_METRICS) else OWN_SCOPE


_OF_INSTRUMENT: dict[str, Sequence[str | None]] = {
    "metric_name": [instrument.name for instrument in INSTRUMENTS],
    "metric_type": [instrument.type for instrument in INSTRUMENTS],
    "unit": [instrument.unit for instrument in INSTRUMENTS],
    "scope_name": [scope_of(instrument.name) for instrument in INSTRUMENTS],
    "temporality": [
        None if instrument.type == "gauge" else "cumulative" for instrument in INSTRUMENTS
    ],
}


class Labels(NamedTuple):
    """The known attributes of a point."""

    model: str | None = None
    provider: str | None = None
    operation: str | None = None
    token_type: str | None = None
    error_type: str | None = None
    gpu_id: str | None = None
    gpu_uuid: str | None = None
    gpu_name: str | None = None

    @property
    def attributes(self) -> str:
        """The attributes as JSON."""
        names = {"model": "gen_ai.request.model"}
        pairs = zip(self._fields, self, strict=True)
        return to_json({names.get(name, name): value for name, value in pairs if value is not None})


NO_LABELS = Labels()


class Owner(NamedTuple):
    """What a point is about, and its interval."""

    run_id: str
    start_time_unix_nano: int
    time_unix_nano: int
    test_id: str | None = None
    trace_id: str | None = None
    point_kind: str = "aggregate"
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Observations by bucket."""

    count: int
    sum: float
    avg: float | None
    min: float | None
    max: float | None
    bucket_bounds: list[float]
    """Upper inclusive bounds of all buckets but the last."""
    bucket_counts: list[int]


def histogram(values: Sequence[float], bounds: Sequence[float]) -> Histogram:
    """Return the observations sorted into buckets."""
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    added = float(total(values))
    return Histogram(
        count=len(values),
        sum=added,
        avg=added / len(values) if values else None,
        min=float(min(values)) if values else None,
        max=float(max(values)) if values else None,
        bucket_bounds=list(map(float, bounds)),
        bucket_counts=counts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One collected point."""

    metric: str
    owner: Owner
    labels: Labels
    value: float | None
    histogram: Histogram | None


class Points:
    """Collected points; each column is made of a few distinct values and an index."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._metrics: list[int] = []
        self._owners: list[int] = []
        self._labels: list[int] = []
        self._values: list[float | None] = []
        self._histograms: list[Histogram | None] = []
        self._known_owners: list[Owner] = []
        self._known_labels: dict[Labels, int] = {}

    def __len__(self) -> int:
        return len(self._metrics)

    def owner(self, owner: Owner) -> int:
        """Note what the next points are about and return its number."""
        self._known_owners.append(owner)
        return len(self._known_owners) - 1

    def add(self, metric: str, owner: int, value: float, labels: Labels = NO_LABELS) -> None:
        """Add the point of a gauge, sum or counter."""
        self._add(metric, owner, labels, value, None)

    def add_histogram(
        self, metric: str, owner: int, found: Histogram, labels: Labels = NO_LABELS
    ) -> None:
        """Add the point of a histogram."""
        self._add(metric, owner, labels, None, found)

    def _add(
        self,
        metric: str,
        owner: int,
        labels: Labels,
        value: float | None,
        found: Histogram | None,
    ) -> None:
        self._metrics.append(_METRIC[metric])
        self._owners.append(owner)
        self._labels.append(self._known_labels.setdefault(labels, len(self._known_labels)))
        self._values.append(value)
        self._histograms.append(found)

    def __iter__(self) -> Iterator[Point]:
        labels = list(self._known_labels)
        for index, metric in enumerate(self._metrics):
            yield Point(
                metric=INSTRUMENTS[metric].name,
                owner=self._known_owners[self._owners[index]],
                labels=labels[self._labels[index]],
                value=self._values[index],
                histogram=self._histograms[index],
            )

    def __getitem__(self, column: str) -> Any:
        """Return a column of the table."""
        if column in _OF_INSTRUMENT:
            return _taken(_OF_INSTRUMENT[column], self._metrics)
        if column == "session_id":
            return pa.repeat(self._session_id, len(self))
        if column == "value":
            return pa.array(self._values, pa.float64())
        if column in Histogram.__slots__:
            return self._of_histogram(attrgetter(column))
        read = attrgetter(column)
        if column in Owner._fields:
            made = _taken([read(owner) for owner in self._known_owners], self._owners)
            gauge = column == "start_time_unix_nano"
            return pc.if_else(self._cumulative(), made, None) if gauge else made
        return _taken([read(labels) for labels in self._known_labels], self._labels)

    def _cumulative(self) -> pa.Array:
        return self["temporality"].is_valid()

    def _of_histogram(self, read: Callable[[Histogram], object]) -> Any:
        if not any(self._histograms):
            return pa.nulls(len(self))
        return [None if found is None else read(found) for found in self._histograms]


def _taken(values: Sequence[object], indices: Sequence[int]) -> pa.Array:
    return pa.array(values).take(pa.array(indices, pa.int32()))
