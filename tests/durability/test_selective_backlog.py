"""A deep backlog, and somebody who wants little of it: found in order, at flat memory, at nobody's expense."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.durability.conftest import Connect
from tests.durability.test_backlog import Clock
from tests.durability.ways import MB, fill, frames, pings, tell
from tests.harness import BrokerProcess, Client

LONG = [pytest.mark.long, pytest.mark.timeout(900)]
COUNTS = [50_000, pytest.param(1_000_000, marks=LONG)]
FEWER = [20_000, pytest.param(100_000, marks=LONG)]
LARGE = [100, pytest.param(5000, marks=LONG)]
CHUNK = 1000  # messages from one receipt to the next
AHEAD = 5 * CHUNK  # messages that may be on the way
BODY = b"x" * 200


def fill_kinds(client: Client, destination: str, kinds: Iterator[str], **headers: str) -> None:
    """Send a message of each kind, which says its number; return when all are there."""
    more = "".join(f"{name}:{value}\n" for name, value in headers.items())
    asked, answered = 0, 0
    numbered = enumerate(kinds)
    while chunk := list(islice(numbered, CHUNK)):
        data = []
        for number, kind in chunk:
            head = f"SEND\ndestination:{destination}\nkind:{kind}\nnumber:{number}\n{more}"
            data.append(b"%bcontent-length:%d\n\n%b\0" % (head.encode(), len(BODY), BODY))
        asked += 1
        data[-1] = data[-1].replace(b"\n", b"\nreceipt:%d\n" % asked, 1)
        client.write(b"".join(data))
        while (asked - answered) * CHUNK > AHEAD:
            answered += 1
            client.expect("RECEIPT", receipt_id=str(answered))
    while answered < asked:
        answered += 1
        client.expect("RECEIPT", receipt_id=str(answered))


def numbers(messages: Iterator[Frame], count: int) -> list[int]:
    """Return what the next messages say."""
    return [int(message.headers["number"]) for message in islice(messages, count)]


@pytest.mark.parametrize("count", COUNTS)
def test_the_last_ten_of_a_backlog(count: int, start_broker: StartBroker, connect: Connect) -> None:
    """They come in order; others go on exchanging messages meanwhile; nothing of the rest is kept."""
    broker = start_broker()
    before = broker.memory()
    clock = Clock()
    fill_kinds(
        connect(broker), "/queue/a", ("rare" if i >= count - 10 else "common" for i in range(count))
    )
    clock.tell(f"{count} messages in", broker)
    consumer = connect(broker)
    with pings(broker) as took:
        consumer.send(
            "SUBSCRIBE", destination="/queue/a", id_="1", ack="client", selector="kind = 'rare'"
        )
        assert numbers(frames(consumer), 10) == [*range(count - 10, count)]
    seconds = clock.tell("the last ten out", broker)
    tell(f"{seconds / count * 1e6:.1f} us a message", took, broker)
    assert broker.memory() < before + 40 * MB
    assert seconds < 5 + count * 50e-6
    assert sorted(took)[len(took) // 2] < 0.1


@pytest.mark.parametrize("count", LARGE)
def test_large_messages_in_the_way(count: int, start_broker: StartBroker, connect: Connect) -> None:
    """Each is copied to be looked at: a few of them are as much work as a thousand small ones."""
    broker = start_broker()
    before = broker.memory()
    clock = Clock()
    sender = connect(broker)
    for number in range(count):
        sender.send("SEND", b"x" * 100_000, destination="/queue/a", receipt=str(number))
        sender.expect("RECEIPT", receipt_id=str(number))
    fill_kinds(sender, "/queue/a", iter(["rare"]))
    clock.tell(f"{count} messages of 100 KB in", broker)
    consumer = connect(broker)
    with pings(broker) as took:
        consumer.send("SUBSCRIBE", destination="/queue/a", id_="1", selector="kind = 'rare'")
        assert numbers(frames(consumer), 1) == [0]
    clock.tell("the last one out", broker)
    tell("large ones", took, broker)
    assert broker.memory() < before + 40 * MB


@pytest.mark.parametrize("persistent", ["true", "false"])
@pytest.mark.parametrize("count", FEWER)
def test_one_by_one_from_a_backlog(
    count: int, persistent: str, start_broker: StartBroker, connect: Connect
) -> None:
    """One in a hundred is wanted, one is taken at a time: looking on costs no more at the end than before."""
    broker = start_broker()
    clock = Clock()
    kinds = ("rare" if i % 100 == 99 else "common" for i in range(count))
    fill_kinds(connect(broker), "/queue/a", kinds, persistent=persistent)
    clock.tell(f"{count} messages in", broker)
    consumer = connect(broker)
    consumer.send(
        "SUBSCRIBE",
        destination="/queue/a",
        id_="1",
        ack="client-individual",
        selector="kind = 'rare'",
        prefetch_count="1",
    )
    half = count // 200
    parts = []
    expected = range(99, count, 100)
    for part in (expected[:half], expected[half:]):
        for number in part:
            message = consumer.expect("MESSAGE", number=str(number))
            consumer.send("ACK", id_=message.headers["ack"])
        parts.append(clock.tell(f"{len(part)} out, one by one", broker))
    assert parts[1] < 3 * parts[0] + 1


@pytest.mark.parametrize("count", COUNTS)
def test_browsing_a_backlog(count: int, start_broker: StartBroker, connect: Connect) -> None:
    """Somebody who reads slowly is shown the messages slowly, not at the expense of memory."""
    broker = start_broker()
    before = broker.memory()
    clock = Clock()
    fill(connect(broker), "/queue/a", count)
    clock.tell(f"{count} messages in", broker)
    watcher = connect(broker)
    watcher.send("SUBSCRIBE", destination="/queue/a", id_="1", browser="true")
    with pings(broker) as took:
        wait_until_it_rests(broker)
        assert broker.memory() < before + 40 * MB
        seen = frames(watcher)
        assert [int(message.body) for message in islice(seen, count)] == [*range(count)]
        assert next(seen).headers["browser"] == "end"
    clock.tell(f"{count} messages seen", broker)
    tell("while somebody browses", took, broker)
    assert broker.memory() < before + 40 * MB


def wait_until_it_rests(broker: BrokerProcess) -> None:
    """Wait until the broker has written all that the watcher's socket takes."""
    with broker.connect() as other:
        for _ in range(1000):
            other.ask("SEND", destination="/topic/nobody")
