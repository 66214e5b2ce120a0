"""The files of samples of a run, read into one series for each device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import orjson

from pytest_smoltrace.sampler.record import (
    DEVICE,
    FAILED,
    FIELDS,
    FOLDER,
    FORMAT,
    PROCESS,
    RECORD,
    REOPENED,
    SUFFIX,
)
from pytest_smoltrace.series import Device, Part, Processes, Series
from pytest_smoltrace.series_join import joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["Device", "Loaded", "Part", "Processes", "Series", "load"]

_DTYPE = np.dtype(
    [
        ("kind", "u1"),
        ("slot", "u1"),
        ("flags", "<u2"),
        ("tick", "<u4"),
        ("mono_ns", "<i8"),
        ("pid", "<i8"),
        *((name, "<f8") for name in FIELDS),
    ]
)
"""RECORD as an array has it."""

_CHUNK = 1 << 14
"""Records read at once."""
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True, slots=True)
class Loaded:
    """All series of a run and what was wrong with its files, one line each."""

    series: tuple[Series, ...] = ()
    warnings: tuple[str, ...] = ()

    def find(self, clock: str, uuid: str) -> Series | None:
        """Return the series of a device, if it has one."""
        return next((one for one in self.series if one.device.key == (clock, uuid)), None)


def load(directory: Path) -> Loaded:
    """Return what the sample files below a run directory hold."""
    found: list[Series] = []
    warnings: list[str] = []
    for number, path in enumerate(sorted((directory / FOLDER).glob(f"*{SUFFIX}"))):
        try:
            with path.open("rb") as file:
                found += _read(file, number)
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.append(f"{FOLDER}/{path.name}: no samples can be read from it: {_why(error)}")
    return Loaded(joined(found), tuple(warnings))


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"its first line has no {error.args[0]!r}"
    return " ".join(str(error).split())


def _read(file: BinaryIO, number: int) -> list[Series]:
    """Return one series for each device that has samples in a file."""
    header = _header(file)
    devices = _devices(header)
    body = file.tell()
    records = (file.seek(0, os.SEEK_END) - body) // RECORD.size
    counts = np.zeros((256, 256), np.int64)
    for chunk in _chunks(file, body, records):
        np.add.at(counts, (chunk["kind"], chunk["slot"]), 1)
    stores = [
        _Store(_columns(int(counts[DEVICE, slot])), _columns(int(counts[PROCESS, slot])))
        for slot in range(len(devices))
    ]
    for chunk in _chunks(file, body, records):
        for slot, store in enumerate(stores):
            store.add(chunk[chunk["slot"] == slot])
    return [
        _series(header, device, store, number)
        for device, store in zip(devices, stores, strict=True)
        if len(store.samples["tick"])
    ]


def _header(file: BinaryIO) -> Mapping[str, Any]:
    line = file.readline(_LONGEST_HEADER)
    if not line.endswith(b"\n"):
        raise ValueError("its first line is not whole")
    header = orjson.loads(line)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"it is not a file of samples of format {FORMAT}")
    if not int(header["period_ns"]) > 0:
        raise ValueError("its period is not above 0")
    return header


def _devices(header: Mapping[str, Any]) -> list[Device]:
    entries = header["devices"]
    return [
        Device(
            clock=str(header["clock"]),
            host=header.get("host"),
            uuid=str(entry["uuid"]),
            index=entry.get("index"),
            name=entry.get("name"),
            memory_mib=entry.get("memory_mib"),
            parent=_parent(entries, entry.get("parent")),
            power=entry.get("power"),
            vendor=header.get("vendor"),
        )
        for entry in entries
    ]


def _parent(entries: list[Mapping[str, Any]], slot: int | None) -> str | None:
    if slot is None:
        return None
    if not 0 <= slot < len(entries):
        raise ValueError(f"its first line has no device {slot}")
    return str(entries[slot]["uuid"])


def _chunks(file: BinaryIO, body: int, records: int) -> Iterator[npt.NDArray[np.void]]:
    """Yield so many records, some thousands at a time."""
    file.seek(body)
    for first in range(0, records, _CHUNK):
        count = min(_CHUNK, records - first)
        yield np.frombuffer(file.read(count * RECORD.size), _DTYPE, count=count)


_Columns = dict[str, "npt.NDArray[Any]"]


def _columns(rows: int) -> _Columns:
    """Return columns that are allocated once, so that no second copy is ever held."""
    whole: _Columns = {name: np.empty(rows, np.int64) for name in ("tick", "mono_ns", "pid")}
    values: _Columns = {name: np.empty(rows) for name in FIELDS}
    return {**whole, "flags": np.empty(rows, np.uint16), **values}


class _Store:
    """Columns of one device that are being filled."""

    def __init__(self, samples: _Columns, processes: _Columns) -> None:
        self.samples = samples
        self.processes = processes
        self._filled = {DEVICE: 0, PROCESS: 0}

    def add(self, records: npt.NDArray[np.void]) -> None:
        for kind, columns in ((DEVICE, self.samples), (PROCESS, self.processes)):
            chosen = records[records["kind"] == kind]
            at = self._filled[kind]
            for name, column in columns.items():
                column[at : at + len(chosen)] = chosen[name]
            self._filled[kind] = at + len(chosen)


def _in_order(columns: _Columns) -> _Columns:
    """Return the columns in the order of time, which they nearly always have."""
    times = columns["mono_ns"]
    if (times[1:] >= times[:-1]).all():
        return columns
    order = np.argsort(times, kind="stable")
    return {name: column[order] for name, column in columns.items()}


def _series(header: Mapping[str, Any], device: Device, store: _Store, number: int) -> Series:
    samples, processes = _in_order(store.samples), _in_order(store.processes)
    flags = samples["flags"]
    part = Part(
        file=number,
        start=0,
        stop=len(flags),
        started_mono_ns=int(header["started_mono_ns"]),
        period_ns=int(header["period_ns"]),
        wall_offset_ns=int(header["wall_offset_ns"]),
    )
    return Series(
        device=device,
        period_ns=part.period_ns,
        started_mono_ns=part.started_mono_ns,
        wall_offset_ns=part.wall_offset_ns,
        seq=samples["tick"],
        mono_ns=samples["mono_ns"],
        failed=(flags & FAILED) != 0,
        reopened=(flags & REOPENED) != 0,
        **{name: samples[name] for name in FIELDS},
        processes=Processes(
            mono_ns=processes["mono_ns"],
            tick=processes["tick"] + (number << 32),
            pid=processes["pid"],
            owner=np.nan_to_num(processes["energy_mj"], nan=0.0).astype(np.int64),
            utilization=processes["utilization"],
        ),
        parts=(part,),
    )
