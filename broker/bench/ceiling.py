"""The ceiling: a process that only copies bytes between connections, on the reactor the broker uses.

A connection begins with one line, `name peer peer…`, is answered with one line `ready`, and from then
on whatever arrives on it is written, unchanged, to the peers that are there under these names. Nothing
is read in the bytes: what a broker does less than this is what its work costs.

    python -m broker.bench.ceiling      prints the port it listens on, ends when its standard input does
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor, stdio
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

GREETING = b"ready\n"
BACKLOG = 1000  # connections that wait to be accepted


class Copier(Protocol):
    """One connection, and the names of those who get its bytes."""

    def __init__(self, present: dict[bytes, Copier]) -> None:
        self.present = present  # every connection by its name
        self.name = b""
        self.peers: list[bytes] = []

    def connectionMade(self) -> None:  # noqa: N802
        """Remember how to write."""
        self.write: Callable[[bytes], None] = cast(Any, self.transport).write

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Copy the bytes to every peer."""
        if not self.name:
            data = self.introduce(data)
        if data:
            for name in self.peers:
                peer = self.present.get(name)
                if peer is not None:
                    peer.write(data)

    def introduce(self, data: bytes) -> bytes:
        """Read the first line; the line comes whole, because the generator waits for the answer."""
        line, _, rest = data.partition(b"\n")
        self.name, *self.peers = line.split()
        self.present[self.name] = self
        self.write(GREETING)
        return rest

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """Forget the name."""
        if self.present.get(self.name) is self:
            del self.present[self.name]


class CopierFactory(Factory):
    """Gives all connections one table of names."""

    def __init__(self) -> None:
        self.present: dict[bytes, Copier] = {}

    def buildProtocol(self, addr: IAddress | None) -> Copier:  # noqa: N802
        """Return the protocol of a new connection."""
        return Copier(self.present)


class EndWithInput(Protocol):
    """Stops the process with its parent: standard input ends when whoever started us does."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.stop = stop

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """End."""
        self.stop()


def main() -> None:
    """Listen on a free loopback port, print it, copy until standard input ends."""
    core: Any = reactor
    port = core.listenTCP(0, CopierFactory(), backlog=BACKLOG, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    stdio.StandardIO(EndWithInput(core.stop))  # type: ignore[no-untyped-call]
    core.run()


if __name__ == "__main__":
    main()
