"""What is remembered of a producer's frames changes nothing: the same with memory and without.

Two brokers get the same program: producers who repeat themselves, with and without all that a SEND can ask
for, while consumers and destinations come and go. One reads them as it always does; the other gets a new parser
for each frame, so that it knows no frame by heart. Whatever anybody hears, and whatever is stored, is the same.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable

import pytest

from broker.agenda import Agenda
from broker.connection import Connection, after_login
from broker.core.broker import Broker
from broker.core.policy import Policies
from broker.options import Options
from broker.reception import Host
from broker.stomp import Frame, Parser
from broker.store import StoreSettings
from broker.store.memory import MemoryStore
from broker.store.writer import InlineWriter
from broker.turn import Turn
from tests.outside import outside

POLICIES = Policies(
    [
        ("limited", {"max_messages": 3, "at_limit": "error"}),
        ("mortal", {"ttl_default": 5000, "priorities": False}),
        ("brief", {"ttl_max": 3000}),
    ]
)
DESTINATIONS = (
    *("/queue/a", "/queue/a", "/queue/a", "b", "/queue/limited", "/queue/mortal", "/queue/brief"),
    *("/topic/t", "/topic/t", "/topic/VirtualTopic.v", "/queue/a,/topic/t", "/temp-queue/mine"),
)
#: Headers that may be there, and their values: one that stays as it is, or one each time.
FIXED: dict[str, tuple[str, ...]] = {
    "persistent": ("true", "false"),
    "reply-to": ("/queue/r", "/temp-queue/mine", "/temp-topic/other"),
    "timestamp": ("12345",),
    "color": ("red", "100%", "%d%b"),
    "odd": ("a:b", "\\", "größe"),
    "JMSXUserID": ("root",),
    "message-id": ("forged",),
    "redelivered": ("true",),
    "priority": ("7", "ten"),
    "ttl": ("1000", "soon"),
    "expires": ("1", "5000", "12345", "99999", "0", "05000", "soon", "-1", "9" * 20),
    "JMSXGroupID": ("g",),
    "dedup-id": ("same",),
    "ActiveMQ.Retain": ("true",),
    "AMQ_SCHEDULED_DELAY": ("0", "never"),
    "content-length": ("1",),
    "receipt": ("same",),
}
COMMON = ("persistent", "reply-to", "timestamp", "color", "content-length", "JMSXUserID")
CHANGING = ("correlation-id", "receipt", "JMSXUserID", "x%y", "subscription")
DECIDING = (
    "persistent",
    "reply-to",
    "timestamp",
    "message-id",
    "expires",
    "expires",
)  # may change too, but seldom do
PRODUCERS = 8  # one after the other, each with its own habits
STEPS = 18  # of each: mostly some SENDs
MOST = 30  # SENDs in one chunk


class Client:
    """A connection without a socket: what it is told, and what it hears."""

    def __init__(self, house: House, version: str, login: str, name: str) -> None:
        self.house = house
        self.version = version
        self.heard = b""
        self.connection = Connection(
            Host(house.broker, house.turn, house.options, b"id-", house.agenda), name, self
        )
        headers = {"accept-version": version, "host": "", "login": login}
        self.connection.data(Frame("CONNECT", headers).encode("1.0"))

    def say(self, frames: list[bytes]) -> None:
        """Say some frames."""
        if self.house.remembers:
            self.connection.data(b"".join(frames))
            return
        for frame in frames:
            parser = self.connection._parser = Parser(after_login(self.house.options))
            parser.version = self.version
            self.connection.data(frame)

    def write(self, data: bytes) -> None:
        self.heard += data

    def pause_reading(self) -> None:
        raise AssertionError("nothing here is slow")

    resume_reading = close = abort = pause_reading


class House:
    """A broker without a reactor, whose turns end when they are told to."""

    def __init__(self, remembers: bool, options: Options) -> None:
        self.remembers = remembers
        self.options = options
        self.soon: deque[Callable[[], None]] = deque()
        self.store = MemoryStore(StoreSettings())
        self.broker = Broker(outside(), policies=POLICIES)
        self.agenda = Agenda(lambda when: None)
        self.now = 1.0
        self.turn = Turn(
            self.broker,
            self.store,
            lambda: InlineWriter(self.store, self.failed),
            self.agenda,
            2**30,
            0.0,
            self.soon.append,
            self.failed,
        )

    def begin(self) -> None:
        """Begin a turn."""
        self.now += 0.1
        self.turn.begin(self.now, self.now)

    def end(self) -> None:
        """Let everything happen that is due."""
        while self.soon:
            self.soon.popleft()()

    @staticmethod
    def failed(error: BaseException) -> None:
        raise error

    def records(self) -> list[object]:
        """Return all that is stored."""
        self.begin()
        self.turn.finish()
        return [
            (name, priority, self.store.read(number, priority, -1, 10**6, 10**9))
            for number, name in enumerate([""] + ["?"] * 100)
            for priority in range(10)
        ]


Program = list[tuple[str, list[bytes]]]  # who says what, a turn each; "" for the broker itself


def write_program(chance: random.Random, version: str) -> Program:
    """Invent what some producers, and consumers of every version, say."""
    program: Program = []
    for number, (destination, ack) in enumerate(
        (("/queue/a", "auto"), ("/topic/t", "client"), ("/queue/mortal", "client"), ("b", "auto"))
    ):
        headers = {"destination": destination, "id": str(number), "ack": ack}
        program.append(
            (("1.0", "1.1", "1.2")[number % 3], [Frame("SUBSCRIBE", headers).encode("1.0")])
        )
    for producer in range(PRODUCERS):
        program += write_episode(chance, version, f"producer {producer}")
    return program


def write_episode(chance: random.Random, version: str, who: str) -> Program:
    """Invent what a producer says: mostly the same, again and again."""
    own = {"destination": "/temp-queue/mine", "id": "mine"}
    program: Program = [(who, [Frame("SUBSCRIBE", own).encode("1.0")])]
    shapes = [write_shape(chance) for _ in range(3)]
    for step in range(STEPS):
        happens = chance.random()
        shape = shapes[step * len(shapes) // STEPS]
        if happens < 0.8:
            count = chance.randrange(1, MOST)
            program.append((who, [write_send(chance, shape, version) for _ in range(count)]))
        elif happens < 0.87:
            headers = {"destination": "/topic/t", "id": f"s{step}", "activemq.noLocal": "true"}
            program.append((who, [Frame("SUBSCRIBE", headers).encode("1.0")]))
            program.append((who, [write_send(chance, shape, version)]))
            program.append((who, [Frame("UNSUBSCRIBE", {"id": f"s{step}"}).encode("1.0")]))
        elif happens < 0.93:
            headers = {"destination": "/queue/Consumer.c.VirtualTopic.v", "id": who + str(step)}
            program.append(("1.2", [Frame("SUBSCRIBE", headers).encode("1.0")]))
        else:
            program.append(("", []))
    return program


def write_shape(chance: random.Random) -> dict[str, str]:
    """Invent the headers of a producer: each has a value, or "" where it changes."""
    shape = {"destination": chance.choice(("", *DESTINATIONS))}
    for name in chance.sample(CHANGING, chance.randrange(1, 4)):
        shape[name] = ""
    if chance.random() < 0.2:
        shape[chance.choice(DECIDING)] = ""
    pool = COMMON if chance.random() < 0.8 else list(FIXED)
    for name in chance.sample(pool, chance.randrange(4)):
        shape.setdefault(name, chance.choice(FIXED[name]))
    names = list(shape)
    chance.shuffle(names)
    return {name: shape[name] for name in names}


def write_send(chance: random.Random, shape: dict[str, str], version: str) -> bytes:
    """Write a SEND of a shape."""
    headers = dict(shape)
    for name, value in shape.items():
        if value:
            continue
        values = DESTINATIONS if name == "destination" else FIXED.get(name, ())
        if len(values) < 2:  # else one of them, each time
            values = (str(chance.randrange(10**6)),)
        headers[name] = chance.choice(values)
    if "correlation-id" in headers and chance.random() < 0.03:
        headers["correlation-id"] = "é: \\"
    body = b"x"
    if "content-length" not in headers:
        body = bytes(chance.choice(b"abc") for _ in range(chance.randrange(3)))
    lines = b"".join(
        f"{name}:{escaped(value, version)}\n".encode() for name, value in headers.items()
    )
    return b"SEND\n%b\n%b\0\n" % (lines, body)


def escaped(value: str, version: str) -> str:
    """Write a value as a version does."""
    return value if version == "1.0" else value.replace("\\", "\\\\").replace(":", "\\c")


def perform(program: Program, version: str, remembers: bool, options: Options) -> list[object]:
    """Let a broker hear a program; return what everybody heard, and what is stored."""
    house = House(remembers, options)
    house.begin()
    clients = {each: Client(house, each, "", f"session-{each}") for each in ("1.0", "1.1", "1.2")}
    for producer in range(PRODUCERS):
        name, login = f"producer {producer}", ("me", "you: \\")[producer % 2]
        clients[name] = Client(house, version, login, f"session-{producer}")
    house.end()
    for who, frames in program:
        house.begin()
        if who:
            clients[who].say(frames)
        else:
            house.broker.sweep()
        house.end()
    heard: list[object] = [client.heard for client in clients.values()]
    return renamed(heard + house.records())


def renamed(told: list[object]) -> list[object]:
    """Return what was told with temporary destinations by their order: their names are nothing to be guessed."""
    names = dict.fromkeys(re.findall(rb"-[0-9a-f]{16}\b", repr(told).encode()))
    for number, name in enumerate(names):
        told = [replaced(each, name, b"-%d" % number) for each in told]
    return told


def replaced(told: object, name: bytes, by: bytes) -> object:
    """Return something with other bytes instead of a name, wherever in it."""
    if isinstance(told, bytes):
        return told.replace(name, by)
    return (
        tuple(replaced(each, name, by) for each in told) if isinstance(told, tuple | list) else told
    )


@pytest.mark.parametrize("seed", range(16))
def test_memory_changes_nothing(seed: int) -> None:
    """In any version, whoever is named as the sender."""
    chance = random.Random(seed)
    version = chance.choice(("1.0", "1.1", "1.2"))
    options = Options(populate_user_id=chance.random() < 0.5)
    program = write_program(chance, version)
    with_memory = perform(program, version, True, options)
    without = perform(program, version, False, options)
    for one, other in zip(with_memory, without, strict=True):
        assert one == other
    assert sum(len(each) for each in with_memory if isinstance(each, bytes)) > 10_000
