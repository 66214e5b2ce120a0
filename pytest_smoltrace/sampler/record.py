"""The file of samples: one line of JSON, then records of one size.

The line holds

* `format`: 1,
* `clock`, `host`: as in the cases of the same host,
* `vendor`, `driver`: nvidia or amd, and the version of its driver or None,
* `period_ns`, `started_mono_ns`: tick k is due at started_mono_ns + k * period_ns,
* `wall_offset_ns`: wall clock minus monotonic clock when the file was begun,
* `devices`: one object for each slot, in the order of the slots: `uuid`, `index` (of the driver,
  None for a device that it did not list), `name`, `memory_mib` (or None), `parent` (slot of the
  partitioned GPU that it is an instance of, else None) and `power` (instant, average or None: what
  power readings mean).

A record whose value is not known holds NaN. One that the end of a process cut off is left out.
"""

from __future__ import annotations

import struct

FORMAT = 1
FOLDER = "samples"
"""Where a run directory has its files of samples, `*.samples` each."""
SUFFIX = ".samples"

DEVICE = 1
"""Kind of a record that says what a device did: FIELDS, `pid` being 0."""
PROCESS = 2
"""Kind of a record that says what a process did on a device: `pid` is the process, `energy_mj` the
worker that it belongs to (0 for none of ours), `utilization` its share of the device in percent;
`power_w`, `temperature` and `memory_mib` are NaN."""

FAILED = 1
"""Flag of a device that could not be read; the upper byte of the flags is the driver's code, 255
for a larger one."""
REOPENED = 2
"""Flag of the first record of a device that had failed."""

RECORD = struct.Struct("<BBHIqqddddd")
"""Kind, slot, flags, tick, monotonic ns at the middle of the reads, pid, then FIELDS."""
FIELDS = ("power_w", "energy_mj", "utilization", "temperature", "memory_mib")
"""W, mJ since the driver was loaded, percent, degrees Celsius, MiB in use."""
