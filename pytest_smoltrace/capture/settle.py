"""Work that a GPU has been given and has not done yet."""

from __future__ import annotations

import sys
from contextlib import suppress


def settle() -> None:
    """Wait for the current CUDA device, where this process uses it through torch already."""
    # Not as an attribute of torch: reading one imports what was to be imported later.
    cuda = sys.modules.get("torch.cuda")
    is_initialized = getattr(cuda, "is_initialized", None)
    if cuda is None or is_initialized is None:  # or it is being imported by another thread
        return
    # What a broken device says here, it says to whoever uses it, too.
    with suppress(RuntimeError):
        if is_initialized():
            cuda.synchronize()
