"""The program of the embedded model server, in a process of its own.

Imports nothing of this package, so that the child starts without it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path


def main(gguf: str, context_tokens: int, threads: int) -> None:
    """Serves until stdin closes or the parent process is gone, then exits at once."""
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    server = _start(gguf, context_tokens, threads)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stdin.read()
    # The C++ threads of the engine are not joined: nothing is left to save.
    os._exit(0)


def main_shared(gguf: str, context_tokens: int, threads: int, stem: Path) -> None:
    """Serves while a process is present in the directory of `stem`, whoever started it.

    Args:
        gguf: The weights.
        context_tokens: Size of the context.
        threads: Threads that compute.
        stem: Path that the names of the server's files begin with.
    """
    ready, told = os.pipe()
    if os.fork():
        # Whoever started the server does not reap it, and may end before it.
        os.close(told)
        os.read(ready, 1)
        os._exit(0)
    os.close(ready)
    if not _is_the_only_one(stem.with_suffix(".lock")):
        os._exit(0)
    os.close(told)
    path = stem.with_name("members")
    watch = (os.open(path, os.O_RDWR), path)
    threading.Thread(target=_exit_after_the_last, args=watch, daemon=True).start()
    server = _start(gguf, context_tokens, threads)
    note = stem.with_suffix(".new")
    note.write_text(json.dumps({"url": server.listening_address}))  # type: ignore[attr-defined]
    note.replace(stem.with_suffix(".json"))
    while True:
        time.sleep(3600)


def _start(gguf: str, context_tokens: int, threads: int) -> object:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.n_ctx = context_tokens
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel = 1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.offline = True
    params.verbosity = -1
    return xllamacpp.Server(params)


def _exit_with_parent(parent: int) -> None:
    """Ends this process when its parent is gone, even if a fork still holds the stdin pipe."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def _is_the_only_one(path: Path) -> bool:
    """Locks the file of the server until this process ends; False when another one serves."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(20):  # somebody may look just now whether a server lives
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.05)
            continue
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return True
    return False


def _exit_after_the_last(members: int, path: Path) -> None:
    """Ends this process when no other is present, and the directory with it."""
    import fcntl

    while True:
        try:
            fcntl.lockf(members, fcntl.LOCK_EX)
            break
        except OSError:  # a network file system may fail for a while
            time.sleep(1.0)
    try:
        if os.path.samestat(os.fstat(members), path.stat()):
            gone = path.parent.with_name(f"{path.parent.name}-{os.getpid()}.gone")
            path.parent.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
    finally:
        os._exit(0)


if __name__ == "__main__":
    _gguf, _context, _threads, *_shared = sys.argv[1:]
    if _shared:
        main_shared(_gguf, int(_context), int(_threads), Path(*_shared))
    else:
        main(_gguf, int(_context), int(_threads))
