"""Something to be done once everything done so far is on disk, as far as it belongs there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.core.lane import Read

if TYPE_CHECKING:
    from broker.core.broker import Broker


class Later:
    """Calls something when the batch that is being collected now is durable, and its promises were kept."""

    def __init__(self, broker: Broker, call: Callable[[], None]) -> None:
        self._broker = broker
        self._call = call
        self._seq = broker.next_seq
        broker.next_seq += 1
        broker.starving[self] = None

    def go_on(self, read: Read) -> None:
        """Something is on disk."""
        if self._broker.committed < self._seq:
            self._broker.starving[self] = None
        else:
            self._call()
