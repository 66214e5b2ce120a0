"""Which process of a session a process on a GPU belongs to."""

from __future__ import annotations

from pathlib import Path

_DEPTH = 64
"""More ancestors than this are a circle of pids that were used again meanwhile."""
STRANGER = 0


class Owners:
    """The children of one process, and it itself, as owners of their descendants."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._known: dict[int, int] = {}

    def of(self, pids: list[int]) -> list[int]:
        """Return the owner of each: the child of the root that it descends from, or the root.

        A process that ended since it was last asked about keeps its owner.
        """
        found = {pid: _owner(pid, self._root) or self._known.get(pid, STRANGER) for pid in pids}
        self._known = found
        return [found[pid] for pid in pids]


def _owner(pid: int, root: int) -> int:
    if pid == root:
        return root
    for _ in range(_DEPTH):
        parent = _parent(pid)
        if parent == root:
            return pid
        if not parent:
            break
        pid = parent
    return STRANGER


def _parent(pid: int) -> int:
    """Return the parent of a process; 0 where that is not known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The name of the program, in brackets, may itself hold brackets and blanks.
    return int(text.rpartition(b")")[2].split()[1])
