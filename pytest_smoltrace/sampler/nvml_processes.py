"""Which processes use a GPU of the NVIDIA driver, and how much."""

from __future__ import annotations

from typing import Any

from .nvml_codes import FUNCTION_NOT_FOUND, NEVER, NOT_FOUND, OK

_WHOLE = 100
_CALLS = ("nvmlDeviceGetProcessUtilization", "nvmlDeviceGetProcessesUtilizationInfo")
"""What drivers have had for long, and what Blackwell cards answer instead."""


class ProcessUse:
    """Asks for what has been sampled since it last asked."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._calls = list(_CALLS)
        self._newest_us = 0
        self._has_begun = False
        self.code = OK
        """What the driver said when it was last asked."""

    def read(self, handle: Any) -> list[tuple[int, float]]:
        """Return pid and percent of each process that was busy; nothing when that is not known."""
        self.code = OK
        found: list[Any] = []
        for call in tuple(self._calls):
            found = self._ask(call, handle)
            if found:
                self._calls = [call]  # the other is not asked again
                break
            if self.code in NEVER:
                self._calls.remove(call)
                self.code = OK
            elif self.code != OK:
                break
        # What was sampled before the first question may be of processes that ended long ago.
        is_first, self._has_begun = not self._has_begun, True
        latest = self._latest(found)
        return [] if is_first else latest

    def _ask(self, call: str, handle: Any) -> list[Any]:
        self.code = OK
        try:
            return list(getattr(self._nvml, call)(handle, self._newest_us))
        except AttributeError:  # a client of the time before
            self.code = FUNCTION_NOT_FOUND
        except self._nvml.NVMLError as error:
            # Nobody was busy: success without room for samples, or none found.
            self.code = OK if error.value in {OK, NOT_FOUND} else error.value
        return []

    def _latest(self, samples: list[Any]) -> list[tuple[int, float]]:
        """Return the newest of each process; drivers have given garbage beyond 100 %."""
        self._newest_us = max([self._newest_us, *(one.timeStamp for one in samples)])
        valid = [one for one in samples if one.pid and one.smUtil <= _WHOLE]
        valid.sort(key=lambda one: one.timeStamp)
        return list({one.pid: float(one.smUtil) for one in valid}.items())
