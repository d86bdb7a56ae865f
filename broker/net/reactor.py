"""Twisted's epoll reactor with a short way from the kernel to a stream, and an end of each pass.

What Twisted does around each event (a log context, a prefix for the log, checks of the descriptor) and for a
call that is to come soon (a timed call in a heap) costs more than most frames do. So:

- sockets given to `read_from` stand in an epoll of our own, and nothing is between that and the read;
- Twisted's epoll, with all else, stands in ours as one more descriptor, so a pass is still one wait;
- `at_end` runs a callable when everything that was ready has been read;
- as long as only streams have something to say, pass follows pass without Twisted's round in between (timed
  calls, calls from threads, how long to wait), which is made at once when anything else happens, and now and
  then in any case.

Linux only, as epoll is. Under any other reactor a stream is read by its transport.
"""

from __future__ import annotations

import contextlib
import operator
import select
import sys
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from twisted.internet.main import installReactor

from broker.core.each import for_each


@contextlib.contextmanager
def hidden(module: str) -> Iterator[None]:
    """Let nobody import a module meanwhile, unless it was imported before."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # Python's way to say that there is none
    try:
        yield
    finally:
        del sys.modules[module]


# Where OpenSSL is installed, Twisted's sockets import it for `startTLS`, which nobody calls here: a tenth of
# the time that the broker takes to start. TLS of listeners and links does without (`broker.net.tls`).
with hidden("OpenSSL"):
    from twisted.internet.base import DelayedCall
    from twisted.internet.epollreactor import EPollReactor

Call = Callable[[], object]

ROUND = 0.02  # seconds without Twisted's round at most: a timed call that was moved forward may be so late


class StreamReactor(EPollReactor):
    """What `hoofbeat run` runs."""

    def __init__(self) -> None:
        self._streams: dict[int, Call] = {}  # descriptor → what reads from it
        self._ends: list[Call] = []
        self._is_asked = False  # for another timed call
        super().__init__()  # type: ignore[no-untyped-call]
        self._all = select.epoll()
        self._all.register(self._poller.fileno(), select.EPOLLIN)

    def read_from(self, descriptor: int, read: Call) -> None:
        """Call `read`, which raises nothing, whenever the descriptor can be read or is broken."""
        self._streams[descriptor] = read
        self._all.register(descriptor, select.EPOLLIN)

    def leave(self, descriptor: int) -> None:
        """Call it no more. It may be closed already."""
        del self._streams[descriptor]
        with contextlib.suppress(OSError):
            self._all.unregister(descriptor)

    def at_end(self, call: Call) -> None:
        """Call this once, at the end of this pass, or of the next if none is under way."""
        self._ends.append(call)

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kw: object
    ) -> DelayedCall:
        """Twisted: call this in `delay` seconds."""
        self._is_asked = True
        return super().callLater(delay, callable, *args, **kw)

    def doIteration(self, delay: float | None) -> None:
        """Twisted: wait up to `delay` seconds for events, and see to them."""
        until = monotonic() + (ROUND if delay is None else min(delay, ROUND))
        self._is_asked = False
        while True:
            ready = self._all.poll(0 if self._ends else delay, len(self._streams) + 1)
            only_streams = bool(ready)
            for descriptor, _ in ready:
                read = self._streams.get(descriptor)
                if read is not None:
                    read()
                else:  # Twisted's own, or one that left a moment ago: harmless
                    only_streams = False
                    self.doPoll(0)  # type: ignore[no-untyped-call]
            if self._ends:
                ends, self._ends = self._ends, []
                for_each(ends, operator.call)
            delay = until - monotonic()
            if self._is_asked or delay <= 0 or not only_streams:
                return


def install() -> StreamReactor:
    """Make it Twisted's reactor. Before anybody imports `twisted.internet.reactor`."""
    reactor = StreamReactor()
    installReactor(reactor)  # type: ignore[no-untyped-call]
    return reactor
