"""Writes the tables of a run as folders that `datasets.load_dataset` reads."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pytest_smoltrace.encoding import dumps
from pytest_smoltrace.exporters.staging import Staging, temporary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COMPRESSION_LEVEL = 3
"""Level 1 is no faster and larger, level 6 costs three times the time for 2 % of the size."""
_WITH_CO2 = frozenset({"results", "metrics", "leaderboard"})
"""Datasets with a figure of carbon intensity or one that is made from it."""
GROUP_BYTES = 16 * 1024 * 1024
"""Largest row group in Arrow bytes; the Hub's viewer takes up to 286 MiB."""


class Tables(Protocol):
    """What a build hands to an exporter."""

    @property
    def summary(self) -> Mapping[str, Any]:
        """The numbers of the run, complete once the batches are read."""

    @property
    def metrics_json(self) -> Any:
        """The value of metrics.json."""

    @property
    def credits(self) -> str:
        """Markdown with the sources of figures that ask to be named, complete as the summary."""

    def batches(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield (table name, rows) in any order of tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the rows of one table go."""

    dataset: str
    """Folder below the run directory."""
    config: str = "default"
    """Configuration of the dataset on the Hub."""
    folder: str = ""
    """Folder below that of the dataset, with a final slash."""
    group_rows: int
    """Rows of a row group: more are smaller and faster to write, fewer are faster to look into."""
    dictionary: bool
    """Whether values are dictionary-encoded; long texts grow by it."""

    def file(self, directory: Path) -> Path:
        """Return the file of this table in a run directory."""
        return directory / self.dataset / f"{self.folder}train-00000.parquet"


PLACES: Mapping[str, Place] = {
    "results": Place(dataset="results", group_rows=4096, dictionary=False),
    "traces": Place(dataset="traces", group_rows=512, dictionary=False),
    "metrics": Place(dataset="metrics", group_rows=8192, dictionary=True),
    "metrics/points": Place(
        dataset="metrics", config="points", folder="points/", group_rows=8192, dictionary=True
    ),
    "metrics/per_gpu": Place(
        dataset="metrics", config="per_gpu", folder="per_gpu/", group_rows=8192, dictionary=True
    ),
    "leaderboard": Place(dataset="leaderboard", group_rows=512, dictionary=False),
}


def write(tables: Tables, directory: Path) -> dict[str, Path]:
    """Write every table that has rows and return the folder of each dataset by name."""
    from pytest_smoltrace.schema.docs import card

    with Staging() as staging:
        written = _write_files(tables, directory, staging)
        folders = {place.dataset: directory / place.dataset for place in written}
        for name, folder in folders.items():
            files = {p.config: p.file(directory) for p in written if p.dataset == name}
            text = _with_configs(card(name) + _credits(tables, name), folder, files)
            staging.add(folder / "README.md").write_bytes(text.encode())
        if "metrics" in folders:
            staged = staging.add(folders["metrics"] / "metrics.json")
            staged.write_bytes(_pretty(list(map(_with_dense_series, tables.metrics_json))))
        staging.add(directory / "summary.json").write_bytes(_pretty(tables.summary))
        staging.publish()
    _remove_stale(written, directory)
    return folders


def _remove_stale(written: list[Place], directory: Path) -> None:
    """Remove what an earlier build wrote and this one did not."""
    kept = {place.dataset for place in written}
    for place in PLACES.values():
        if place not in written:
            place.file(directory).unlink(missing_ok=True)
        if place.dataset not in kept:
            (directory / place.dataset / "README.md").unlink(missing_ok=True)


def _write_files(tables: Tables, directory: Path, staging: Staging) -> list[Place]:
    """Write the Parquet files under temporary names."""
    sinks: dict[str, _Sink] = {}
    with ExitStack() as undo:
        for name, batch in tables.batches():
            if batch.num_rows == 0:
                continue
            if name not in sinks:
                path = staging.add(PLACES[name].file(directory))
                sinks[name] = _Sink(PLACES[name], path, batch.schema)
                undo.callback(sinks[name].discard)
            sinks[name].add(batch)
        for sink in sinks.values():
            sink.finish()
    return [place for name, place in PLACES.items() if name in sinks]


class _Sink:
    """One Parquet file being written, holding back what does not fill a row group yet."""

    def __init__(self, place: Place, path: Path, schema: pa.Schema) -> None:
        self._place = place
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._writer = pq.ParquetWriter(
            path,
            schema.remove_metadata(),
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=place.dictionary,
            store_schema=False,  # the documentation of the columns is in the card
            write_statistics=_flat(schema),
        )

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows, writing out those that fill row groups."""
        self._held.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= self._group_rows():
            self._flush(self._rows // self._group_rows() * self._group_rows())

    def _group_rows(self) -> int:
        by_bytes = GROUP_BYTES * self._rows // max(self._bytes, 1)
        return max(1, min(self._place.group_rows, by_bytes))

    def _flush(self, rows: int) -> None:
        table = pa.Table.from_batches(self._held).replace_schema_metadata(None)
        self._writer.write_table(table.slice(0, rows), row_group_size=self._group_rows())
        pa.default_memory_pool().release_unused()
        rest = table.slice(rows)
        self._held = rest.to_batches()
        self._rows, self._bytes = rest.num_rows, rest.nbytes

    def finish(self) -> None:
        """Write what is held back and the footer of the file."""
        if self._rows:
            self._flush(self._rows)
        self._writer.close()

    def discard(self) -> None:
        """Close the file of a write that failed."""
        with suppress(OSError):
            self._writer.close()


def _flat(schema: pa.Schema) -> list[str]:
    """Return the columns that rows are looked up by; all statistics stay in memory to the end."""
    return [field.name for field in schema if not pa.types.is_nested(field.type)]


def _pretty(value: Any) -> bytes:
    return dumps(value, orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"


def _with_dense_series(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of metrics.json whose time series take one line: they are long."""
    series = dumps(run["resourceMetrics"], orjson.OPT_SORT_KEYS)
    return {**run, "resourceMetrics": orjson.Fragment(series)}


def _credits(tables: Tables, dataset: str) -> str:
    return f"\n{tables.credits}" if tables.credits and dataset in _WITH_CO2 else ""


def _with_configs(text: str, folder: Path, files: Mapping[str, Path]) -> str:
    """Name the files of each configuration in the card's YAML; without it loaders guess.

    `datasets` caches a local folder under a hash of these configurations alone, not of its path
    or files: the digest in the description keeps it from answering with another run's rows.
    """
    head = text.removeprefix("---\n") if text.startswith("---\n") else f"---\n{text}"
    lines = ["---", "configs:"]
    for config, path in files.items():
        lines += [f"- config_name: {config}", "  data_files:", "  - split: train"]
        pattern = path.relative_to(folder).parent / "train-*.parquet"
        lines += [f"    path: {pattern.as_posix()}"]
        with temporary(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines += [f"  description: sha256 {digest}"]
    return "\n".join(lines) + "\n" + head
