"""What everybody in one test shares, and a lifeline's host in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from twisted.internet.interfaces import IDelayedCall

from rpc.testing.clock import Clock
from rpc.testing.loop import Loop
from rpc.testing.wire import Network, Plug


@dataclass(frozen=True, slots=True)
class World:
    """One test's time, chance and network."""

    clock: Clock
    loop: Loop
    random: Random
    network: Network
    endings: list[Callable[[], None]] = field(default_factory=list)  # what is done at the end


class Host(Plug):
    """What moves a lifeline's bytes, and its time. See `rpc.lifeline.Host`."""

    def __init__(self, world: World, party: str, *, is_worker: bool = False) -> None:
        super().__init__(world.network, party, is_worker=is_worker)
        self.world = world
        self.now = world.clock.seconds
        self.wall = world.clock.wall
        self.chance = world.random.random

    def later(self, seconds: float, call: Callable[[], None]) -> IDelayedCall:
        """Call a function after a while."""
        return self.world.clock.callLater(seconds, call)

    def soon(self, call: Callable[[], None]) -> None:
        """Call a function after what is due already."""
        self.world.clock.callLater(0, call)
