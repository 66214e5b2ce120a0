"""The devices that are to be sampled, in the slots of the file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .record import FORMAT
from .slot import Slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .device import Driver

    _Told = Mapping[str, Any]

_MIB = 2**20


def entries(gpus: Iterable[Mapping[str, Any]], uuids: Iterable[str]) -> list[dict[str, Any]]:
    """Return the header's entry of each device, each GPU before the instances of it."""
    known: dict[str, tuple[_Told | None, _Told | None]] = {}
    for gpu in gpus:
        known[gpu["uuid"]] = (gpu, None)
        known.update((part["uuid"], (gpu, part)) for part in gpu["mig"] or ())
    found: dict[str, dict[str, Any]] = {}
    places: dict[str, int] = {}
    for uuid in uuids:
        whole, part = known.get(uuid, (None, None))
        if part is not None and whole is not None:
            _add(found, places, _entry(whole["uuid"], whole))
            _add(found, places, _entry(uuid, whole, part, parent=places[whole["uuid"]]))
        else:
            _add(found, places, _entry(uuid, whole))
    return list(found.values())


def _add(found: dict[str, dict[str, Any]], places: dict[str, int], entry: dict[str, Any]) -> None:
    if entry["uuid"] not in found:
        places[entry["uuid"]] = len(found)
        found[entry["uuid"]] = entry


def _entry(
    uuid: str,
    gpu: Mapping[str, Any] | None,
    part: Mapping[str, Any] | None = None,
    parent: int | None = None,
) -> dict[str, Any]:
    size = (part or gpu or {}).get("memory_bytes")
    return {
        "uuid": uuid,
        "index": gpu["index"] if gpu else None,
        "name": gpu["name"] if gpu else "GPU",
        "memory_mib": None if size is None else size / _MIB,
        "parent": parent,
        "power": None,
    }


def slots(driver: Driver, found: Sequence[dict[str, Any]]) -> list[Slot]:
    """Open the devices, and say in their entries what their power readings mean."""
    made: list[Slot] = []
    for number, entry in enumerate(found):
        parent = entry["parent"]
        device = driver.device(entry["uuid"], is_instance=parent is not None)
        whole = None if parent is None else made[parent]
        slot = Slot(number, _label(entry), device, whole)
        slot.open()
        entry["power"] = device.power
        made.append(slot)
    return made


def _label(entry: Mapping[str, Any]) -> str:
    """Return how people call the device."""
    if entry["index"] is None:
        return f"GPU {entry['uuid']}"
    kind = "" if entry["parent"] is None else f"instance {entry['uuid']} of "
    return f"{kind}GPU {entry['index']} ({entry['name']})"


def header(
    order: Mapping[str, Any], driver: Driver, devices: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the first line of the file, whose tick 0 is due now."""
    now_ns = time.monotonic_ns()
    return {
        "format": FORMAT,
        "clock": order["clock"],
        "host": order["host"],
        "vendor": driver.vendor,
        "driver": driver.version,
        "period_ns": round(order["period_s"] * 1e9),
        "started_mono_ns": now_ns,
        "wall_offset_ns": time.time_ns() - now_ns,
        "devices": list(devices),
    }
