"""Ctrl-C and its like, taken only where nothing is half done.

A `KeyboardInterrupt` between the start of a process and the note that it must be ended would leave that
process behind, and one during the cleaning up what is not cleaned up yet. So a signal is remembered, and
raised only where we wait for others, which is nearly always.

Knows signals, nothing of what they interrupt.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_came = False  # a signal that is not raised yet
_waiting = False  # True: it may be raised at once


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Handle the signals in this way, in the main thread. One that is ignored (`nohup`) stays so."""
    global _came  # a process has one set of handlers
    _came = False
    previous = {number: signal.getsignal(number) for number in NUMBERS}
    for number, handler in previous.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def welcome() -> Iterator[None]:
    """Wait in here. Raises `KeyboardInterrupt` if a signal comes, or has come."""
    global _waiting
    _waiting = True
    try:
        if _came:
            raise KeyboardInterrupt
        yield
    finally:
        _waiting = False


def _handle(number: int, frame: FrameType | None) -> None:
    global _came
    _came = True
    if _waiting:
        raise KeyboardInterrupt
