"""Connections in memory, with faults: what two ends write reaches the other, frame by frame, in order.

As on TCP, frames of one direction never overtake each other, and what was under way when a connection
breaks is lost. The broker's end is a `broker.connection.Connection`, the other a `Plug`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from broker.connection import Connection
from broker.options import Options
from broker.stomp import Frame, Parser
from broker.store import StoreSettings
from broker.store.memory import MemoryStore
from rpc.errors import ConnectionLost
from rpc.lifeline import Lifeline
from rpc.testing.clock import Clock
from rpc.testing.faults import Faults, Rule
from rpc.testing.house import House

VERSION = "1.2"  # what our clients and the broker always agree on


class Hub(Protocol):
    """What a wire needs of the network."""

    clock: Clock
    faults: Faults

    def forget(self, wire: Wire) -> None:
        """A wire is no more."""

    def restart(self, down: float, *, killed: bool) -> None:
        """Restart the broker."""


class Lane:
    """One direction of a wire."""

    def __init__(
        self, hub: Hub, wire: Wire, arrive: Callable[[bytes], None], *, to_broker: bool
    ) -> None:
        self._hub = hub
        self._wire = wire
        self._arrive = arrive
        self._to_broker = to_broker
        self._parser = Parser()
        self._due = 0.0  # nothing arrives before
        self._under_way: deque[Callable[[], None]] = deque()

    def write(self, data: bytes) -> None:
        """Send what its end has said."""
        frames = self._parser.feed(data)
        if self._parser.version is None and frames:
            self._parser.version = VERSION
            frames += self._parser.feed(b"")
        together: list[bytes] = []
        for frame in frames:
            encoded = frame.encode(VERSION)
            rule = self._judge(frame)
            if rule is None:
                together.append(encoded)
            elif rule.fault == "duplicate":
                together += [encoded, encoded]
            elif rule.fault == "delay":
                self._send(together)
                self._due = max(self._due, self._hub.clock.seconds() + rule.seconds)
                together = [encoded]
            elif rule.fault != "drop":
                self._send(together)
                self.later(partial(self._break, rule))
                return
        self._send(together)

    def later(self, work: Callable[[], None]) -> None:
        """Do something once all that is under way has arrived."""
        clock = self._hub.clock
        self._under_way.append(work)
        clock.callLater(max(0.0, self._due - clock.seconds()), self._next)

    def _next(self) -> None:
        work = self._under_way.popleft()
        if not self._wire.is_cut:
            work()

    def _send(self, frames: list[bytes]) -> None:
        if frames:
            self.later(partial(self._arrive, b"".join(frames)))

    def _judge(self, frame: Frame) -> Rule | None:
        hub, wire = self._hub, self._wire
        return hub.faults.judge(
            hub.clock.seconds(),
            wire.party,
            frame,
            of_worker=wire.of_worker,
            to_broker=self._to_broker,
        )

    def _break(self, rule: Rule) -> None:
        if rule.fault == "restart":
            self._hub.restart(rule.seconds, killed=rule.killed)
        else:
            self._wire.cut("a fault was injected")


class Wire:
    """One connection; to the broker's end it is the `broker.connection.Transport`."""

    def __init__(self, hub: Hub, house: House, plug: Plug) -> None:
        self.is_cut = False
        self.party = plug.party
        self.of_worker = plug.is_worker
        self._hub = hub
        self._house = house
        self._plug: Plug | None = plug  # None: that end has hung up
        self._ended = False  # the broker's end
        self._paused = False
        self._unread: list[bytes] = []  # that came meanwhile
        self._to_broker = Lane(hub, self, self.reach_broker, to_broker=True)
        self._from_broker = Lane(hub, self, self._reach_plug, to_broker=False)
        self._connection: Connection = house.connect(self)

    # The plug's end.

    def send(self, data: bytes) -> None:
        """The plug writes."""
        self._to_broker.write(data)

    def hang_up(self) -> None:
        """The plug ends the connection, what it wrote arrives."""
        self._plug = None
        self._to_broker.later(self._end_of_input)

    # The broker's end: broker.connection.Transport.

    def write(self, data: bytes) -> None:
        """The broker writes."""
        self._from_broker.write(data)

    def pause_reading(self) -> None:
        """The broker takes nothing for now."""
        self._paused = True

    def resume_reading(self) -> None:
        """The broker goes on."""
        self._paused = False
        self._to_broker.later(partial(self.reach_broker, b""))

    def close(self) -> None:
        """The broker hangs up, what it wrote arrives."""
        if not self._ended:
            self._ended = True
            self._from_broker.later(partial(self.cut, "closed by the broker"))

    def abort(self) -> None:
        """The broker hangs up now."""
        self.cut("closed by the broker")

    # Both.

    def say_goodbye(self) -> None:
        """The broker stops: it hears no more, and says what it owes."""
        self._house.begin()
        self._connection.end_of_input(died=False)

    def cut(self, why: str) -> None:
        """Break: what is under way is lost, and both ends find out at once."""
        if self.is_cut:
            return
        self.is_cut = True
        self._hub.forget(self)
        self._house.begin()
        self._connection.lost()
        plug, self._plug = self._plug, None
        if plug is not None:
            error = ConnectionLost(f"The connection to the broker is lost: {why}", sent=True)
            plug.unplugged(self, error)

    def reach_broker(self, data: bytes) -> None:
        """Bytes arrive at the broker."""
        self._unread.append(data)
        if not self._paused:
            data, self._unread = b"".join(self._unread), []
            self._house.begin()
            self._connection.data(data)

    def _reach_plug(self, data: bytes) -> None:
        if self._plug is not None:
            self._plug.lifeline.received(data)

    def _end_of_input(self) -> None:
        self._house.begin()
        self._connection.end_of_input()


class Network:
    """The broker, when there is one, and who is connected."""

    def __init__(self, clock: Clock, options: Options) -> None:
        self.clock = clock
        self.faults = Faults()
        self._options = options
        self._store = MemoryStore(StoreSettings())
        self._wires: dict[Wire, None] = {}
        self.house: House | None = House(clock, self._store, options)

    def dial(self, plug: Plug) -> None:
        """Somebody wants to connect."""
        self.clock.callLater(0, self._connect, plug, plug.tries)

    def _connect(self, plug: Plug, tries: int) -> None:
        if plug.tries != tries:  # it has hung up meanwhile
            return
        if self.house is None:
            plug.refused(
                ConnectionLost("No connection to the broker: it is not running", sent=False)
            )
            return
        wire = Wire(self, self.house, plug)
        self._wires[wire] = None
        plug.plugged(wire)

    def forget(self, wire: Wire) -> None:
        """A wire is no more."""
        self._wires.pop(wire, None)

    def disconnect(self, party: str | None) -> None:
        """Break the connection of one, or of all."""
        for wire in list(self._wires):
            if party in (None, wire.party):
                wire.cut("a fault was injected")

    def stop(self, *, killed: bool) -> None:
        """End the broker."""
        house, self.house = self.house, None
        if house is None:
            return
        if killed:
            house.kill()
            self.disconnect(None)
            return
        for wire in list(self._wires):
            wire.say_goodbye()
        house.stop()

    def start(self) -> None:
        """Begin the broker, with what its store has."""
        if self.house is None:
            self.house = House(self.clock, self._store, self._options)

    def restart(self, down: float, *, killed: bool) -> None:
        """End the broker, and begin it again after a while."""
        self.stop(killed=killed)
        if down:
            self.clock.callLater(down, self.start)
        else:
            self.start()


class Plug:
    """A client's or worker's end of its connections, one after the other: the part of a `rpc.lifeline.Host`."""

    lifeline: Lifeline  # whoever makes it sets it

    def __init__(self, network: Network, party: str, *, is_worker: bool = False) -> None:
        self.party = party
        self.is_worker = is_worker
        self.tries = 0
        self._network = network
        self._wire: Wire | None = None
        self._is_dead = False

    def dial(self) -> None:
        """Begin to connect."""
        self.tries += 1
        if not self._is_dead:
            self._network.dial(self)

    def write(self, data: bytes) -> None:
        """Send."""
        if self._wire is not None:
            self._wire.send(data)

    def hang_up(self) -> None:
        """End the connection, or the try to make one."""
        self.tries += 1
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.hang_up()

    def die(self) -> None:
        """End in the middle of whatever it is, without a word."""
        self._is_dead = True
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.cut("the process has died")

    # What the network tells.

    def plugged(self, wire: Wire) -> None:
        """There is a connection."""
        self._wire = wire
        self.lifeline.opened()

    def refused(self, error: ConnectionLost) -> None:
        """There is none."""
        self.tries += 1
        self.lifeline.lost(error)

    def unplugged(self, wire: Wire, error: ConnectionLost) -> None:
        """It has ended."""
        if self._wire is wire:
            self._wire = None
            self.lifeline.lost(error)
