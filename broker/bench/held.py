"""Connections that do nothing: opened one after the other, held until the parent has looked, then closed.

Each says CONNECT and waits for CONNECTED; at the end each says DISCONNECT and waits for its RECEIPT, which
shows that all of them were alive all the time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from broker.bench.timing import TELL_EVERY, Result, Stopwatch, Tell
from broker.bench.wire import Address, Link


def hold(
    address: Address, connections: int, result: Result, tell: Tell, opened: Callable[[], None]
) -> None:
    """Open `connections`, call `opened`, wait for a line on standard input, close them.

    The clock runs while they are opened. Raises `MeasurementError` if one is refused or lost.
    """
    links: list[Link] = []
    try:
        watch = Stopwatch(address.pids)
        next_tell = 0.0
        for number in range(connections):
            links.append(Link(address, f"held{number}"))
            now = time.perf_counter()
            if now >= next_tell:
                tell(len(links))
                next_tell = now + TELL_EVERY
        watch.stop(result)
        opened()
        sys.stdin.readline()
        while links:
            links.pop().close()
    finally:
        for link in links:
            link.abandon()
    result.operations = connections
