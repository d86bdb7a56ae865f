"""Two brokers without sockets, reactor and disk, whose link, batches and ends come when a test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from broker.agenda import Agenda
from broker.connection import Connection
from broker.core.broker import Broker
from broker.options import Options
from broker.peering.dialled import Dialled
from broker.peering.peers import Peers
from broker.reception import Host
from broker.rights import Rights
from broker.sections import PeerSection
from broker.stomp import Frame, Parser
from broker.store import StoreSettings, Writes
from broker.store.memory import MemoryStore
from broker.turn import Turn
from tests.outside import outside

NOW = 1_000_000.0  # seconds since 1970; it stays so


class End:
    """One end of a link, or of a client's: what is written there waits until it is delivered."""

    def __init__(self) -> None:
        self.said: deque[bytes] = deque()
        self.aborted = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.said.append(data)

    def close(self) -> None:
        """It has said its last word."""
        self.aborted = True

    abort = close

    def pause_reading(self) -> None:
        """Whoever delivers asks nobody: nothing here is full."""

    resume_reading = pause_reading


class HeldWriter:
    """Keeps a batch until it is to be written."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.held: tuple[Writes, Callable[[], None]] | None = None

    def write(self, batch: Writes, done: Callable[[], None]) -> None:
        """Keep it for now."""
        self.held = (batch, done)

    def commit(self, tell: bool = True) -> bool:
        """Write what is held, and say so; False if nothing is."""
        if self.held is None:
            return False
        (batch, done), self.held = self.held, None
        self._store.write(batch)
        if tell:
            done()
        return True

    def stop(self) -> None:
        """Nothing is ever on the way."""


class Site:
    """One broker. It is killed and started again on what its store holds."""

    def __init__(self, name: str, other: str, url: str = "", **settings: Any) -> None:
        """`settings` are those of the other one, as a peer."""
        section = PeerSection(other, url, "secret", heart_beat=0, **settings)
        self.options = Options(name=name, peers=(section,), connect_timeout=0)
        self.store = MemoryStore(StoreSettings())
        self.told: list[str] = []  # the operator: the trouble with a peer, "" for none
        self.rights = Rights()
        self.start()

    def start(self) -> None:
        """Go on where the store ends."""
        stored = self.store.load()
        self._soon: deque[Callable[[], None]] = deque()
        self.broker = Broker(outside())
        self.broker.now = int(NOW * 1000)
        self.broker.load(stored, self.store.read)
        self.peers = Peers(self.broker, self.options, stored.node, stored.boot, self._hear)
        [self.peer] = self.peers
        self.agenda = Agenda(lambda when: None)
        self.writer = HeldWriter(self.store)
        self.turn = Turn(
            self.broker,
            self.store,
            lambda: self.writer,
            self.agenda,
            2**30,
            0.0,
            self._soon.append,
            self._failed,
        )
        self._prefix = f"{self.options.name}-{stored.boot}-".encode()

    def _hear(self, peer: str, trouble: str) -> None:
        self.told.append(trouble)

    def kill(self, written: bool) -> None:
        """End it; `written`: what it was about to write is on disk, but nobody was told."""
        if written:
            self.writer.commit(tell=False)
        self.start()

    def run(self, action: Callable[[], object]) -> None:
        """Do something in a turn, and end that."""
        self.turn.begin(NOW, NOW)
        action()
        while self._soon:
            self._soon.popleft()()

    def commit(self) -> bool:
        """Let what is held come to disk; False if nothing is."""
        done: list[bool] = []
        self.run(lambda: done.append(self.writer.commit()))
        return done[0]

    def commit_all(self) -> None:
        """Let everything come to disk."""
        while self.commit():
            pass

    def dial(self) -> tuple[Connection, End]:
        """Return a link to the other one, and our end of it."""
        end, made = End(), list[Connection]()
        self.run(lambda: made.append(Dialled(self.peers, self.peer, self._host(), "session", end)))
        return made[0], end

    def answer(self) -> tuple[Connection, End]:
        """Return what whoever dials us talks to, and our end of it."""
        end = End()
        return Connection(self._host(), "session", end), end

    def ask(self, command: str, body: bytes = b"", **headers: str) -> list[Frame]:
        """Let a client send a frame, with all that was asked on disk at the end; return what it hears."""
        connection, end = self.answer()
        parser = Parser()
        login = {"accept-version": "1.2", "host": "x"}
        for frame in (Frame("CONNECT", login), Frame(command, headers, body)):
            data = frame.encode("1.0" if frame.command == "CONNECT" else "1.2")
            self.run(lambda data=data: connection.data(data))  # type: ignore[misc]
        heard = parser.feed(b"".join(end.said))
        parser.version = "1.2"
        heard += parser.feed(b"")
        return heard[1:]

    def send(self, target: str, body: bytes, **headers: str) -> None:
        """Let a client send something."""
        assert self.ask("SEND", body, destination=target, **headers) == []

    def take_all(self, queue: str) -> list[Frame]:
        """Let a client take everything from a queue."""
        self.commit_all()
        connection, end = self.answer()
        parser = Parser()
        login = {"accept-version": "1.2", "host": "x"}
        wish = {"destination": queue, "id": "1"}
        for frame in (Frame("CONNECT", login), Frame("SUBSCRIBE", wish)):
            data = frame.encode("1.0" if frame.command == "CONNECT" else "1.2")
            self.run(lambda data=data: connection.data(data))  # type: ignore[misc]
        self.commit_all()
        self.run(connection.lost)
        [connected] = parser.feed(b"".join(end.said))
        assert connected.command == "CONNECTED"
        parser.version = "1.2"
        return [frame for frame in parser.feed(b"") if frame.command == "MESSAGE"]

    def _host(self) -> Host:
        return Host(
            self.broker,
            self.turn,
            self.options,
            self._prefix,
            self.agenda,
            self.peers,
            self.rights,
        )

    @staticmethod
    def _failed(error: BaseException) -> None:
        raise error


class Line:
    """The link between two, dialled by the first."""

    def __init__(self, dialler: Site, answerer: Site) -> None:
        self.sites = (dialler, answerer)
        (dialling, near), (answering, far) = dialler.dial(), answerer.answer()
        self._connections = (dialling, answering)
        self._ends = (near, far)

    def deliver_all(self) -> None:
        """Let everything arrive that is said, and what is said to that."""
        while self.deliver(0) or self.deliver(1):
            pass

    def deliver(self, sender: int) -> bool:
        """Let the next piece that one of them (0, 1) has said come to the other; False if it has said nothing."""
        if any(end.aborted and not end.said for end in self._ends):
            return False
        said = self._ends[sender].said
        if not said:
            return False
        data, other = said.popleft(), 1 - sender
        self.sites[other].run(lambda: self._connections[other].data(data))
        return True

    @property
    def is_over(self) -> bool:
        """True when one of them has hung up, and everything was said."""
        return any(end.aborted and not end.said for end in self._ends)

    def cut(self, *dead: Site) -> None:
        """The link is lost, with all that is on its way; who is dead hears nothing of it."""
        for site, connection in zip(self.sites, self._connections, strict=True):
            if site not in dead:
                site.run(connection.lost)


def settle(dialler: Site, answerer: Site) -> None:
    """Link them until neither has anything left to do."""
    line = Line(dialler, answerer)
    while True:
        steps = [line.deliver(0), line.deliver(1), dialler.commit(), answerer.commit()]
        if line.is_over:
            line.cut()
            line = Line(dialler, answerer)
        elif not any(steps):
            line.cut()
            return
