"""Ending in order on SIGTERM and SIGINT, for what blocks in the main thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stopped_by_signals(stop: Callable[[], None], rope: int) -> Iterator[None]:
    """Let a signal call `stop`, once; then put back what was, so that a second one ends the process.

    Whoever blocks is to wake when bytes are written to the descriptor `rope`: a signal that another thread
    gets, or that comes when this one is about to wait, interrupts nothing, and `stop` would be called
    after the wait. In other threads than the main one signals are not heeded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    def heard(number: int, frame: FrameType | None) -> None:
        restore()
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, heard)
    woken_before = signal.set_wakeup_fd(rope, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken_before)
        restore()
