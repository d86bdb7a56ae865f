"""What the processes of all libraries share: arguments, a clock that counts, and the command line.

Runs in environments where only one of the libraries is installed, so it needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

SIZE = 100  # bytes of an argument
FLIGHT = 64  # calls under way in the load "flight"
BATCH = 100  # calls of a batch, as in hoofbeat's `map`
FILLING = "x" * SIZE


class Clock:
    """Says what to ask until the time is over, and counts what was answered in it, after a warm-up."""

    def __init__(self, warmup: float, seconds: float) -> None:
        self.done = 0
        self.warmup = warmup
        self.seconds = seconds
        self._lock = threading.Lock()
        self._begins = time.perf_counter() + warmup
        self._ends = self._begins + seconds

    def restart(self) -> None:
        """Begin now, when everything is connected."""
        self._begins = time.perf_counter() + self.warmup
        self._ends = self._begins + self.seconds

    def arguments(self) -> Iterator[str]:
        """Yield arguments until the time is over. For one thread; others ask for their own."""
        number = 0
        while time.perf_counter() < self._ends:
            yield f"{number:010d}{FILLING}"[:SIZE]
            number += 1

    def came(self, answer: object, due: str) -> None:
        """Compare an answer with what is due, and count it. Raises `ValueError`."""
        if answer != due:
            raise ValueError(f"a call was answered with {answer!r} instead of {due!r}")
        if self._begins <= time.perf_counter() < self._ends:
            with self._lock:
                self.done += 1


#: Calls a server at an address until the clock says that it is enough.
Load = Callable[[str, Clock], None]
#: Serves, at an address or through the broker there, and says its own address once it does.
Serve = Callable[[str, Callable[[str], None]], None]


def main(serve: Serve, loads: Mapping[str, Load]) -> None:
    """Be what the command line says: `serve ADDRESS`, or `LOAD ADDRESS WARMUP SECONDS`."""
    what, address, *times = sys.argv[1:]
    if what == "serve":
        threading.Thread(target=leave_with_parent, daemon=True).start()
        serve(address, lambda own: print(own, flush=True))
        return
    clock = Clock(*map(float, times))
    loads[what](address, clock)
    print(json.dumps({"calls": clock.done, "seconds": clock.seconds}), flush=True)
    os._exit(0)  # some libraries' threads would not end


def leave_with_parent() -> None:
    """End this process when its standard input does."""
    sys.stdin.read()
    os._exit(0)


def free_port() -> int:
    """Return a port of this machine that nobody has, for servers that must be told theirs."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
