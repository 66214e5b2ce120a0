"""What xdist runs as a worker on another host: goes to the project, then becomes xdist's own.

Its source is sent there, so that it and what it runs are the controller's; it imports the
standard library only.
"""

from __future__ import annotations

import os
import sys
from typing import Any

PLACE = "smoltrace_place"
"""Key of a worker's input; the arguments, the folder and the source of xdist's worker."""


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
    exec(code, {"__name__": "__channelexec__", "channel": channel})  # noqa: S102


if __name__ == "__channelexec__":
    become_worker(channel, channel.receive())  # type: ignore[name-defined]  # noqa: F821
