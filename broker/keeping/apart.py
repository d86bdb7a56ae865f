"""Work in a process of its own, because what it reads may be damaged enough to kill it.

A file that is mapped into memory (LMDB's is) and has lost its end, or has pages that point anywhere, ends who reads it
with SIGBUS or SIGSEGV. Then there is somebody left to say so, in one line.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from broker.commands.line import FAILED, SIGNALLED, complain

CLOSED_PIPE = SIGNALLED + signal.SIGPIPE
DAMAGE = {signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE}


def apart(work: Callable[[], int], store: str) -> int:
    """Do the work, which returns an exit status, in a fork of this process; return the status.

    SIGTERM and SIGINT are the fork's. If reading the `store` has killed it, that is said, and the status is 1.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os._exit(run(work))

    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    before = signal.signal(signal.SIGTERM, pass_on)
    # Ctrl-C is told to both; the one that works ends.
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _, status = os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, ignored)
    code = os.waitstatus_to_exitcode(status)
    if -code in DAMAGE:
        name = signal.Signals(-code).name
        return complain(f"{store} is not whole: reading it has killed the process ({name})", FAILED)
    return SIGNALLED - code if code < 0 else code


def run(work: Callable[[], int]) -> int:
    """Do the work as a process; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        status = work()
        sys.stdout.flush()
    except BrokenPipeError:  # who read our output has enough
        return CLOSED_PIPE
    except BaseException:
        traceback.print_exc()
        return FAILED
    return status
