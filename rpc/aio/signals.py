"""Ending in order on SIGTERM and SIGINT, for what runs on an asyncio loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HEEDED = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let a signal call `stop`, in the loop; a second one ends the process as it would without us."""
    loop = asyncio.get_running_loop()

    def heed_no_more() -> None:
        for number in HEEDED:
            loop.remove_signal_handler(number)

    def heard() -> None:
        heed_no_more()
        stop()

    for number in HEEDED:
        loop.add_signal_handler(number, heard)
    try:
        yield
    finally:
        heed_no_more()
