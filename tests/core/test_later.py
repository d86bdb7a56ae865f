"""When the messages of a SUBSCRIBE begin whose RECEIPT must wait for the disk."""

from __future__ import annotations

from itertools import count

import pytest

from broker.core.later import Later
from broker.stomp import Frame
from tests.core.house import House as Core
from tests.durability.house import Client, House

_numbers = count(1)
QUEUE = "/queue/Consumer.a.VirtualTopic.x"  # a broker remembers it, also while it is empty


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def client(house: House) -> Client:
    """Return a client; two messages wait for it."""
    client = Client(house)
    for body in (b"1", b"2"):
        client.ask("SEND", body, destination=QUEUE)
    return client


def tell(client: Client, command: str, **headers: str) -> None:
    """Send a frame, and leave the turn open."""
    named = {name.rstrip("_"): value for name, value in headers.items()}
    client.connection.data(Frame(command, named).encode("1.2"))


def heard(house: House, client: Client) -> list[str]:
    """End the turn; return the commands of what came."""
    house.end_turn()
    client.ask("BEGIN", transaction=str(next(_numbers)))
    return [frame.command for frame in client.frames]


def test_the_receipt_comes_first(house: House, client: Client) -> None:
    tell(client, "SUBSCRIBE", destination=QUEUE, id_="s", receipt="r")
    assert heard(house, client) == ["RECEIPT", "MESSAGE", "MESSAGE"]


def test_a_client_that_is_paused_meanwhile(house: House, client: Client) -> None:
    """Neither comes anything before the RECEIPT, nor while it is paused."""
    tell(client, "SUBSCRIBE", destination=QUEUE, id_="s", receipt="r")
    client.connection.unsent(2 << 20)
    client.connection.unsent(0)
    tell(client, "SUBSCRIBE", destination="/topic/t", id_="t", receipt="t")
    assert heard(house, client) == ["RECEIPT", "RECEIPT", "MESSAGE", "MESSAGE"]


def test_a_client_that_is_paused_then(house: House, client: Client) -> None:
    tell(client, "SUBSCRIBE", destination=QUEUE, id_="s", receipt="r")
    client.connection.unsent(2 << 20)
    assert heard(house, client) == ["RECEIPT"]
    client.connection.unsent(0)
    assert heard(house, client) == ["MESSAGE", "MESSAGE"]


def test_a_client_that_ends_it_meanwhile(house: House, client: Client) -> None:
    tell(client, "SUBSCRIBE", destination=QUEUE, id_="s", receipt="r")
    tell(client, "UNSUBSCRIBE", id_="s")
    assert heard(house, client) == ["RECEIPT"]
    assert house.broker.routes.queue(QUEUE.removeprefix("/queue/")).waiting == 2


def test_nothing_waits_without_a_receipt(house: House, client: Client) -> None:
    tell(client, "SUBSCRIBE", destination=QUEUE, id_="s")
    assert heard(house, client) == ["MESSAGE", "MESSAGE"]


def test_later_is_when_the_right_batch_is_on_disk() -> None:
    """Not the one that is being written already."""
    core = Core()
    calls: list[str] = []
    core.put("before")
    core.begin_write()
    Later(core.broker, lambda: calls.append("now"))
    core.put("after")
    core.end_write()
    core.go_on()
    assert not calls
    core.begin_write()
    core.go_on()
    assert not calls
    core.end_write()
    core.go_on()
    core.settle()
    assert calls == ["now"]


def test_later_is_at_once_when_there_is_nothing_to_write() -> None:
    core = Core()
    calls: list[str] = []
    Later(core.broker, lambda: calls.append("now"))
    core.broker.nothing_to_write()
    core.go_on()
    assert calls == ["now"]
