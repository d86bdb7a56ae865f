"""What the broker's own methods need of the floors above."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.core.broker import Broker
from broker.errors import StompError
from broker.options import Options
from broker.peering.peers import Peers
from broker.rights import Rights
from broker.watch.presence import Presence
from broker.watch.statistics import Statistics


@dataclass(slots=True)
class House:
    """The broker with all that stands around it."""

    broker: Broker
    presence: Presence
    statistics: Statistics
    options: Options  # may be others after a while
    peers: Peers
    rights: Rights
    started: int  # milliseconds since 1970
    #: Returns the address of each connection, by session.
    addresses: Callable[[], Mapping[str, str]]
    #: Ends the connection of a session with an ERROR.
    dismiss: Callable[[str, StompError], None]
    #: Calls a function in a turn, so many seconds from now or a little later.
    later: Callable[[float, Callable[[], None]], None]
