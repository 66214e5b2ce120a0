"""Run as a script: becomes the command that pipes the Python of a worker on another host.

The first argument is `command`, for one that hands its arguments on as they are, or `shell`, for
one such as ssh that joins them for a shell; then `::` stands before what that shell is to run.
"""

import os
import shlex
import subprocess
import sys


def main(kind: str, words: list[str]) -> None:
    """Become the command, in a session of its own."""
    if kind == "shell":
        place = words.index("::")
        python, *arguments = words[place + 1 :]
        words = [*words[:place], f"{python} {shlex.join(arguments)}"]
    if os.name == "nt":
        sys.exit(subprocess.call(words))  # noqa: S603
    # Ctrl-C on the terminal is the controller's to tell: it must not cut the connection.
    os.setsid()
    try:
        os.execvp(words[0], words)  # noqa: S606
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
