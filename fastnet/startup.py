"""Ctrl-C while the command `fastnet` starts: it ends at once, without a traceback.

`fastnet.cli.main` restores Python's handler. The first import of fastnet, because the others take
most of the time.
"""

import contextlib
import itertools
import os
import signal
import sys


def is_command(arguments: list[str], original: list[str]) -> bool:
    """Whether this process is the command: `sys.argv` and `sys.orig_argv` tell.

    While `python -m fastnet` imports the package, `sys.argv` begins with "-m".
    """
    if arguments[:1] == ["-m"]:
        return ("-m", "fastnet") in itertools.pairwise(original)
    name = os.path.basename(arguments[0]) if arguments else ""  # pathlib is slow
    return os.path.splitext(name)[0] == "fastnet"


if is_command(sys.argv, sys.orig_argv) and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_DFL)
