"""A broker without sockets, reactor and disk: frames in, frames out, turns that end when they are told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from broker.agenda import Agenda
from broker.connection import Connection
from broker.core.broker import Broker
from broker.options import Options
from broker.reception import Host
from broker.stomp import Frame, Parser
from broker.store import StoreSettings
from broker.store.memory import MemoryStore
from broker.store.writer import InlineWriter
from broker.turn import Turn
from tests.outside import outside


class Client:
    """A connection without a socket: frames in, frames out, a turn each time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._parser = Parser()
        self._parser.version = "1.2"
        self._frames: list[Frame] = []
        self.connection = Connection(
            Host(house.broker, house.turn, Options(), b"hoof-0-1-", house.agenda), "session", self
        )
        assert self.ask("CONNECT", version="1.0", host="", accept_version="1.2") == ["CONNECTED"]

    def ask(
        self, command: str, body: bytes = b"", version: str = "1.2", **headers: str
    ) -> list[str]:
        """Send a frame; return the commands of the frames that came back, `frames` has them."""
        named = {name.rstrip("_").replace("_", "-"): value for name, value in headers.items()}
        self._house.turn.begin(1.0, 1.0)
        self.connection.data(Frame(command, named, body).encode(version))
        self._house.end_turn()
        self.frames, self._frames = self._frames, []
        return [frame.command for frame in self.frames]

    def write(self, data: bytes) -> None:
        self._frames += self._parser.feed(data)

    def pause_reading(self) -> None:
        raise AssertionError("nothing here is slow")

    resume_reading = close = abort = pause_reading


class House:
    """A broker without a reactor, whose turns end and whose sweeps come when the test says so."""

    def __init__(self) -> None:
        self._soon: deque[Callable[[], None]] = deque()
        self.store = MemoryStore(StoreSettings())
        self.broker = Broker(outside())
        self.agenda = Agenda(lambda when: None)
        self.turn = Turn(
            self.broker,
            self.store,
            lambda: InlineWriter(self.store, self._failed),
            self.agenda,
            2**30,
            0.0,
            self._soon.append,
            self._failed,
        )

    def end_turn(self) -> None:
        """Let everything happen that is due."""
        while self._soon:
            self._soon.popleft()()

    def sweep(self, times: int = 2) -> None:
        """What is idle in two sweeps is removed."""
        for _ in range(times):
            self.turn.begin(1.0, 1.0)
            self.broker.sweep()
            self.end_turn()

    @staticmethod
    def _failed(error: BaseException) -> None:
        raise error
