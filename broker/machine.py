"""How much memory there is, and what happens when this process takes nearly all of it: the last of all limits.

Each kind of memory that clients can take has a limit of its own, but many may be reached at once. Before the system
ends the process, which would cost everything that is not stored, no messages are taken any more, but as many as are
consumed meanwhile. Acknowledgements are taken, so that consumers bring it down.

Linux only, as /proc is; elsewhere nothing is watched.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterable
from pathlib import Path

from broker.core.broker import Broker

CALM = 0.9  # of the mark: below it messages are taken again
STATM = Path("/proc/self/statm")
#: Where a container's limit is: version 2 and 1.
CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class MemoryMark:
    """Looks now and then at how much memory is taken."""

    def __init__(
        self, most: int, brokers: Callable[[], Iterable[Broker]], say: Callable[[str], None]
    ) -> None:
        """`most` bytes; 0: nobody knows. `say` tells the operator."""
        self._most = most
        self._brokers = brokers
        self._say = say
        self._passed = False

    def look(self) -> None:
        """Take less, or as much as ever."""
        taken = memory_taken() if self._most else 0
        if taken > self._most * (CALM if self._passed else 1.0):
            # What was freed in small pieces is not always given back by itself.
            import ctypes  # few brokers come here

            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(None).malloc_trim(0)
            self._change(True, taken)
        elif self._passed:
            self._change(False, taken)

    def _change(self, is_short: bool, taken: int) -> None:
        if is_short != self._passed:
            self._passed = is_short
            what = (
                "no messages are taken until some are consumed"
                if is_short
                else "all is taken again"
            )
            self._say(f"{taken >> 20} MiB of memory are taken, {self._most >> 20} allowed: {what}")
        for broker in self._brokers():
            broker.hold_back(is_short)


def memory_taken() -> int:
    """Return the bytes that are this process's own; not the store's file, whose pages the system can take back."""
    try:
        _, resident, shared, *_ = map(int, STATM.read_text().split())
    except OSError:
        return 0
    return (resident - shared) * resource.getpagesize()


def memory_of_machine(cgroup: Iterable[str] = CGROUP) -> int:
    """Return the bytes of memory there are: the machine's, or what its container may have; 0 if nobody knows."""
    found = []
    for path in cgroup:
        with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
            found.append(int(Path(path).read_text()))
    with contextlib.suppress(OSError, IndexError, ValueError):
        # MemTotal:       16384256 kB
        found.append(int(Path("/proc/meminfo").read_text().split()[1]) * 1024)
    return min(found, default=0)
