"""What carries the calls of a blocking client: a line of its own, or somebody else's connection.

Says what `client` needs; how bytes move and threads wait is for `line` and `rider` to know.
"""

from __future__ import annotations

from typing import Any, Protocol

from rpc.blocking.future import CallFuture
from rpc.calling.caller import ClientStats
from rpc.calling.calls import C, Call, Kind
from rpc.calling.items import Items
from rpc.calling.options import CallOptions


class Carrier(Protocol):
    """Begins calls, waits for them, and ends them if there is no connection any more."""

    def begin(self, method: str, params: bytes, options: CallOptions, kind: Kind[C]) -> C:
        """Begin a call and send it. Raises `ConnectionLost` if there is no way to."""

    def submit(self, method: str, params: bytes, options: CallOptions) -> CallFuture:
        """Begin a call whose end somebody may be told of."""

    def finish(self, call: Call) -> Any:
        """Wait for a call and return its result; whatever interrupts that gives the call up."""
        if not call.done:
            try:
                self.wait_for(call, float("inf"))
            except BaseException:  # Ctrl-C, for one: the reply will be late
                self.give_up(call)
                raise
        return call.result()

    def wait_for(self, call: Call, until: float) -> None:
        """Wait until the call is done, or until a monotonic moment."""

    def next_item(self, items: Items) -> Any:
        """Wait for the next item of a stream and return it, or `END`. Raises how the stream failed."""

    def give_up(self, call: Call) -> None:
        """Drop a call that nobody waits for: its worker is told, its reply will be late."""

    def desert(self, call: Call) -> None:
        """The same from a finalizer, which may be run in the middle of anything, of our own locks too."""

    def connected(self, until: float) -> object:
        """Return once there is a connection, before a monotonic moment. Raises `ConnectionLost`."""

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""

    def close(self) -> None:
        """Leave the connection, and end all calls."""
