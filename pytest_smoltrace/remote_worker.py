"""What xdist runs as a worker on another host: goes to the project, then becomes xdist's own.

Its source is sent there, so that it and what it runs are the controller's; it imports the
standard library only.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

PLACE = "smoltrace_place"
"""Key of a worker's input: arguments, folder, pytest's cache and the source of xdist's worker."""


def become_worker(channel: Any, told: tuple[Any, ...]) -> None:
    """Run xdist's worker in the project's folder, with the arguments as they are right there."""
    workerinput = told[0]
    place = workerinput.pop(PLACE)
    os.chdir(place["cwd"])
    # The arguments have what the controller's variable adds; this host's own does not count.
    os.environ.pop("PYTEST_ADDOPTS", None)
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    # None for the path: xdist puts the folder first, as for every worker without a shared disk.
    channel.receive = lambda: (workerinput, place["args"], {}, None)
    code = compile(place["source"], place["file"], "exec")
    with tempfile.TemporaryDirectory() as cache:
        place["args"] += _cache_options(place["cache"], cache)
        exec(code, {"__name__": "__channelexec__", "channel": channel})  # noqa: S102


def _cache_options(values: dict[str, str], folder: str) -> list[str]:
    """Write what pytest's cache holds of earlier sessions, and return what makes it used."""
    for name, text in values.items():
        path = os.path.join(folder, "v", name)  # noqa: PTH118
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
    return ["-o", f"cache_dir={folder}"] if values else []


if __name__ == "__channelexec__":
    become_worker(channel, channel.receive())  # type: ignore[name-defined]  # noqa: F821
