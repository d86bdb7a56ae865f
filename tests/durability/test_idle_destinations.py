"""Destinations come and go by the thousand: what nobody uses leaves nothing behind, what is used stays."""

from __future__ import annotations

import gc
import tracemalloc

from broker.agenda import Agenda
from broker.connection import Connection
from broker.core.broker import Broker
from broker.options import Options
from broker.stomp import Frame, Parser
from broker.store import StoreSettings
from broker.store.memory import MemoryStore
from broker.store.writer import InlineWriter
from broker.tail import annotate
from broker.turn import Turn


class Client:
    """A connection without a socket: frames in, frames out, a turn each time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._parser = Parser()
        self._parser.version = "1.2"
        self._frames: list[Frame] = []
        self.connection = Connection(
            house.broker, house.turn, Options(), b"hoof-0-1-", "session", house.agenda, self
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
        self.store = MemoryStore(StoreSettings())
        self.broker = Broker(annotate=annotate)
        self.agenda = Agenda(lambda when: None)
        self.turn = Turn(
            self.broker,
            self.store,
            lambda: InlineWriter(self.store, self._failed),
            self.agenda,
            2**30,
            0.0,
            lambda call: None,
            self._failed,
        )

    def end_turn(self) -> None:
        """Let everything happen that is due."""
        self.turn.end()
        while self.turn.begun:
            self.turn.end()

    def sweep(self, times: int = 2) -> None:
        """What is idle in two sweeps is removed."""
        for _ in range(times):
            self.turn.begin(1.0, 1.0)
            self.broker.sweep()
            self.end_turn()

    @staticmethod
    def _failed(error: BaseException) -> None:
        raise error


def test_reply_queues_leave_nothing_behind() -> None:
    """Hundreds of queues with names of their own, again and again: memory is flat, and the store empty."""
    house = House()
    client = Client(house)
    sizes = []
    tracemalloc.start()
    for round_ in range(4):
        for number in range(300):
            queue = f"/queue/reply.{round_}.{number}"
            sent = client.ask("SEND", b"x", destination=queue, receipt="r")
            assert sent == ["RECEIPT"]  # on disk
            client.ask("SUBSCRIBE", destination=queue, id_=queue, ack="client-individual")
            [message] = client.frames
            assert client.ask("ACK", id_=message.headers["ack"], receipt="r") == ["RECEIPT"]
            assert client.ask("UNSUBSCRIBE", id_=queue, receipt="r") == ["RECEIPT"]
        house.sweep()
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert house.broker.routes.queues == {}
    assert house.store.load().queues == []
    assert sizes[-1] - sizes[1] < 50_000, sizes


def test_topics_leave_nothing_behind() -> None:
    """The same for topics that were only published to, or subscribed to."""
    house = House()
    client = Client(house)
    for number in range(100):
        topic = f"/topic/{number}"
        assert client.ask("SEND", b"x", destination=topic, receipt="r") == ["RECEIPT"]
        assert client.ask("SUBSCRIBE", destination=topic, id_=topic, receipt="r") == ["RECEIPT"]
    house.sweep()
    assert len(house.broker.routes.topics) == 100
    for number in range(100):
        assert client.ask("UNSUBSCRIBE", id_=f"/topic/{number}", receipt="r") == ["RECEIPT"]
    house.sweep()
    assert house.broker.routes.topics == {}


def test_what_is_used_stays() -> None:
    """A message that waits, a consumer that waits, an acknowledgement that waits for COMMIT."""
    house = House()
    client, other = Client(house), Client(house)
    client.ask("SEND", b"x", destination="/queue/message")
    client.ask("SUBSCRIBE", destination="/queue/consumer", id_="1")
    client.ask("SEND", b"x", destination="/queue/held")
    other.ask("SUBSCRIBE", destination="/queue/held", id_="1", ack="client-individual")
    [message] = other.frames
    other.ask("BEGIN", transaction="t")
    other.ask("ACK", id_=message.headers["ack"], transaction="t")
    other.ask("UNSUBSCRIBE", id_="1")
    house.sweep()
    assert house.broker.routes.queues.keys() == {"message", "consumer", "held"}
    other.ask("ABORT", transaction="t")
    assert client.ask("SUBSCRIBE", destination="/queue/held", id_="2") == ["MESSAGE"]


def test_a_transaction_outlives_its_destination() -> None:
    """A SEND waits for COMMIT so long that its queue is forgotten: the message arrives all the same."""
    house = House()
    client = Client(house)
    for route in ("/queue/a", "/topic/a"):
        client.ask("BEGIN", transaction="t")
        client.ask("SEND", b"x", destination=route, transaction="t")
        house.sweep()
        client.ask("SUBSCRIBE", destination=route, id_=route)
        assert client.ask("COMMIT", transaction="t", receipt="r") == ["MESSAGE", "RECEIPT"]
