"""What an operator says about destinations: what their consumers get, and how much may wait.

What becomes of messages that fail, expire, come twice or are kept for later has stories of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    await_waiting,
    bodies,
    drain,
    expect_error,
    is_served,
    let_pass,
    put,
    read_octets,
    subscribe,
    take,
)

MOST = 5  # messages that may wait in the small queues
SETTINGS: dict[str, object] = {
    'destination."narrow.>".prefetch': 3,
    'destination."single.>".exclusive': True,
    'destination."plain.>".priorities': False,
    'destination."block.>".max_messages': MOST,
    'destination."error.>".max_messages': MOST,
    'destination."error.>".at_limit': "error",
    'destination."drop.>".max_messages': MOST,
    'destination."drop.>".at_limit': "drop-oldest",
    'destination."memory.>".memory_limit': 10_000,
    'destination."memory.error.>".at_limit': "error",
    'destination."memory.drop.>".at_limit': "drop-oldest",
    'destination."kept.>".keep_idle': True,
    'destination."slow.>".pending_limit': 10,
    'destination."leaves.>".offline_timeout': 0.3,
    'composite."/queue/block.composed".forward_to': ["/queue/wide.other"],
    'composite."/queue/block.composed".forward_only': False,
    "sweep_every": 0.1,
    "memory_limit": 20_000_000,
}
_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker with a section for everything."""
    directory = tmp_path_factory.mktemp("policies")
    process = BrokerProcess(f"lmdb:{directory / 'data'}", directory, SETTINGS)
    yield process
    process.kill()


def queue_in(pattern: str) -> str:
    """Return the destination of a queue that nobody else uses, of those with a policy."""
    return f"/queue/{pattern}.{next(_numbers)}"


def numbered(first: int, last: int) -> list[bytes]:
    """Return bodies, for example b"1" to b"9"."""
    return [b"%d" % number for number in range(first, last + 1)]


def pour(client: Client, queue: str, some: list[bytes], **headers: str) -> None:
    """Send messages and wait for nothing."""
    client.write(
        b"".join(
            Frame("SEND", {"destination": queue, **headers}, body).encode("1.2") for body in some
        )
    )


def is_heard(client: Client) -> bool:
    """True if the broker answers within a moment: a client that is held back it does not."""
    client.send("BEGIN", transaction=str(next(_numbers)), receipt="heard")
    try:
        return client.frame(0.3).command == "RECEIPT"
    except TimeoutError:
        return False


def peek(client: Client, queue: str) -> list[bytes]:
    """Return what waits in a queue, and leave it there."""
    subscribe(client, queue, id="peek", browser="true")
    found = []
    while (message := client.expect("MESSAGE")).headers.get("browser") != "end":
        found.append(message.body)
    accepted(client.ask("UNSUBSCRIBE", id="peek"))
    return found


# What consumers get.


@pytest.mark.parametrize(
    ("asked", "got"), [({}, 3), ({"activemq.prefetchSize": "2"}, 2), ({"prefetch-count": "6"}, 6)]
)
def test_a_prefetch_for_those_who_name_none(
    connect: Connect, asked: dict[str, str], got: int
) -> None:
    """Who names one gets that."""
    queue = queue_in("narrow")
    put(connect(), queue, *numbered(1, 10))
    client = connect()
    subscribe(client, queue, ack="client", **asked)
    assert bodies(take(client, got)) == numbered(1, got)
    assert client.silent()


def test_one_consumer_at_a_time(connect: Connect) -> None:
    """`exclusive`: the first gets everything; when it goes, the next gets the rest, in order."""
    queue = queue_in("single")
    first, second = connect(), connect()
    for client in (first, second):
        subscribe(client, queue, ack="client-individual")
    put(connect(), queue, *numbered(1, 4))
    messages = take(first, 4)
    assert bodies(messages) == numbered(1, 4)
    assert second.silent()
    accepted(ack(first, messages[0]))
    first.send("UNSUBSCRIBE", id="s")
    assert bodies(take(second, 3)) == numbered(2, 4)


def test_priorities_may_be_ignored(connect: Connect) -> None:
    """`priorities = false`: first in, first out; the header is passed on as it came."""
    queue = queue_in("plain")
    for priority in ("1", "9", "4"):
        put(connect(), queue, priority.encode(), priority=priority)
    put(connect(), f"{queue},{queue}.other", b"5", priority="5")
    client = connect()
    subscribe(client, queue)
    messages = take(client, 4)
    assert bodies(messages) == [b"1", b"9", b"4", b"5"]
    assert [message.headers["priority"] for message in messages] == ["1", "9", "4", "5"]


def test_a_section_may_mean_only_queues_or_only_topics(
    start_broker: StartBroker, connect: Connect
) -> None:
    """By the prefix of its pattern; of several that match the last one decides."""
    broker = start_broker(
        "memory:",
        **{
            'destination.">".prefetch': 4,
            'destination."/queue/a".prefetch': 2,
            'destination."/topic/a".prefetch': 3,
        },
    )
    for destination, most in (("/queue/a", 2), ("/topic/a", 3), ("/queue/b", 4), ("/topic/b", 4)):
        client = connect(to=broker)
        subscribe(client, destination, ack="client")
        put(connect(to=broker), destination, *numbered(1, 6))
        assert len(take(client, most)) == most
        assert client.silent()


# What happens when a queue is full: the producer waits.


def test_a_producer_waits_until_there_is_room(connect: Connect) -> None:
    """Nothing is lost, nothing comes twice, nothing changes its place; receipts come as it goes on."""
    queue = queue_in("block")
    producer, consumer = connect(), connect()
    for number in range(20):
        producer.send("SEND", b"%d" % number, destination=queue, receipt=str(number))
    for number in range(MOST):
        producer.expect("RECEIPT", receipt_id=str(number))
    assert not is_heard(producer)
    assert bodies_of(peek(connect(), queue)) == list(range(MOST))
    subscribe(consumer, queue, ack="client-individual", **{"activemq.prefetchSize": "1"})
    for number in range(20):
        message = consumer.expect("MESSAGE")
        assert int(message.body) == number
        consumer.send("ACK", **acknowledgement(consumer, message))
    expect_receipts(producer, *map(str, range(MOST, 20)), "heard")
    assert consumer.silent()


def expect_receipts(client: Client, *ids: str) -> None:
    """Wait for receipts; those of what is not stored may overtake others."""
    came = [client.expect("RECEIPT").headers["receipt-id"] for _ in ids]
    assert sorted(came) == sorted(ids)


def bodies_of(found: list[bytes]) -> list[int]:
    """Return bodies as numbers."""
    return [int(body) for body in found]


@pytest.mark.parametrize("prefetch", ["1", "3", "1000"])
def test_a_thousand_messages_through_a_narrow_queue(connect: Connect, prefetch: str) -> None:
    """All alike but for their number; written at once, by a client that waits for nothing."""
    queue = queue_in("block")
    producer, consumer = connect(), connect()
    subscribe(consumer, queue, ack="client-individual", **{"activemq.prefetchSize": prefetch})
    pour(producer, queue, numbered(1, 1000))
    producer.send("DISCONNECT", receipt="bye")
    for number in range(1, 1001):
        message = consumer.expect("MESSAGE")
        assert int(message.body) == number
        consumer.send("ACK", **acknowledgement(consumer, message))
    producer.expect("RECEIPT", receipt_id="bye")
    assert consumer.silent()


def test_messages_that_are_equal_are_counted_right(connect: Connect) -> None:
    """Twelve times the same, in one packet."""
    queue = queue_in("block")
    producer, consumer = connect(), connect()
    pour(producer, queue, [b"same"] * 12)
    subscribe(consumer, queue, ack="client-individual", **{"activemq.prefetchSize": "1"})
    for _ in range(12):
        accepted_later(consumer, consumer.expect("MESSAGE"))
    assert consumer.silent()
    assert producer.silent()


def accepted_later(client: Client, message: Frame) -> None:
    """Acknowledge a message while more may come."""
    client.send("ACK", **acknowledgement(client, message))


def test_hearts_beat_while_a_producer_waits(connect: Connect) -> None:
    """It is not given up because it is not read, and it hears the broker's heart."""
    queue = queue_in("block")
    producer = connect(heart_beat="100,100")
    pour(producer, queue, numbered(1, MOST + 1))
    end = time.monotonic() + 1
    beats = b""
    while time.monotonic() < end:
        beats += read_octets(producer)
    assert set(beats) == {10}
    assert len(beats) >= 2
    assert drain(connect(), queue) == numbered(1, MOST + 1)
    assert producer.silent()


def test_several_producers_wait_in_turn(connect: Connect) -> None:
    """Each goes on where it was, and none is forgotten."""
    queue = queue_in("block")
    producers = [connect() for _ in range(4)]
    for number, producer in enumerate(producers):
        pour(producer, queue, [b"%d %d" % (number, each) for each in range(50)])
    consumer = connect()
    subscribe(consumer, queue, ack="client", **{"activemq.prefetchSize": "2"})
    seen: dict[bytes, list[int]] = {}
    for _ in range(200):
        message = consumer.expect("MESSAGE")
        accepted_later(consumer, message)
        who, _, what = message.body.partition(b" ")
        seen.setdefault(who, []).append(int(what))
    assert seen == {b"%d" % number: list(range(50)) for number in range(4)}
    assert all(producer.silent() for producer in producers)


def test_a_producer_that_hangs_up_while_it_waits(connect: Connect) -> None:
    """What it had sent before is taken, also what waits for room; others go on."""
    queue = queue_in("block")
    leaving, staying = connect(), connect()
    pour(leaving, queue, numbered(1, MOST))
    assert leaving.silent()
    pour(leaving, queue, [b"last"])
    pour(staying, queue, [b"other"])
    assert not is_heard(staying)
    leaving.close()
    consumer = connect()
    subscribe(consumer, queue)
    assert bodies(take(consumer, MOST)) == numbered(1, MOST)
    assert {message.body for message in take(consumer, 2)} == {b"last", b"other"}
    staying.expect("RECEIPT", receipt_id="heard")


def test_who_waits_in_vain_costs_nothing(server: BrokerProcess, connect: Connect) -> None:
    """A hundred producers that come, wait and lose patience; the queue is still full."""
    queue = queue_in("block")
    put(connect(), queue, *numbered(1, MOST))
    for _ in range(100):
        client = connect(heart_beat="0,100")
        pour(client, queue, [b"late"])
        read_octets(client)
        client.close()
    assert bodies_of(peek(connect(), queue)) == list(range(1, MOST + 1))
    assert is_served(connect())


def test_what_a_consumer_has_does_not_wait(connect: Connect) -> None:
    """A consumer's prefetch makes room, and takes it when it gives back; nothing is refused for that."""
    queue = queue_in("block")
    consumer = connect()
    subscribe(consumer, queue, ack="client")
    put(connect(), queue, *numbered(1, 3 * MOST))
    take(consumer, 3 * MOST)
    accepted(consumer.ask("UNSUBSCRIBE", id="s"))
    producer = connect()
    pour(producer, queue, [b"more"])
    assert not is_heard(producer)
    assert drain(connect(), queue) == [*numbered(1, 3 * MOST), b"more"]


def test_a_commit_waits_for_room(connect: Connect) -> None:
    """All of a transaction or nothing; what is larger than the limit finds an empty queue large enough."""
    queue = queue_in("block")
    put(connect(), queue, *numbered(1, MOST))
    producer = connect()
    accepted(producer.ask("BEGIN", transaction="t"))
    for body in numbered(MOST + 1, 3 * MOST):
        producer.send("SEND", body, destination=queue, transaction="t")
    assert producer.silent()
    producer.send("COMMIT", transaction="t", receipt="commit")
    assert not is_heard(producer)
    assert bodies_of(peek(connect(), queue)) == list(range(1, MOST + 1))
    assert drain(connect(), queue) == numbered(1, 3 * MOST)
    expect_receipts(producer, "commit", "heard")


def test_a_consumer_that_puts_back_what_it_takes_does_not_block_itself(connect: Connect) -> None:
    """It acknowledges and sends in one transaction, on a queue that is as full as it may be."""
    queue = queue_in("block")
    put(connect(), queue, *numbered(1, MOST))
    client = connect()
    subscribe(client, queue, ack="client-individual", **{"activemq.prefetchSize": "1"})
    message = client.expect("MESSAGE")
    client.send("BEGIN", transaction="t")
    client.send("SEND", b"again", destination=queue, transaction="t")
    client.send("ACK", transaction="t", **acknowledgement(client, message))
    client.send("COMMIT", transaction="t", receipt="commit")
    frames = [client.frame() for _ in range(2)]
    assert {frame.command for frame in frames} == {"MESSAGE", "RECEIPT"}


@pytest.mark.parametrize("destination", ["{block},{wide}", "/queue/block.composed"])
def test_a_composite_waits_for_the_fullest(connect: Connect, destination: str) -> None:
    """None gets a copy before all can."""
    block, wide = queue_in("block"), queue_in("wide")
    if destination == "/queue/block.composed":
        block, wide = destination, "/queue/wide.other"
    destination = destination.format(block=block, wide=wide)
    producer = connect()
    pour(producer, destination, numbered(1, MOST + 1))
    assert not is_heard(producer)
    assert peek(connect(), wide) == numbered(1, MOST)
    assert drain(connect(), block) == numbered(1, MOST + 1)
    producer.expect("RECEIPT", receipt_id="heard")
    assert drain(connect(), wide)[: MOST + 1] == numbered(1, MOST + 1)


def test_a_virtual_topic_waits_for_its_slowest_consumer(
    start_broker: StartBroker, connect: Connect
) -> None:
    """Its queues keep everything, so somebody must wait."""
    broker = start_broker(
        "memory:", **{'destination."Consumer.slow.>".max_messages': MOST, "sweep_every": 0.1}
    )
    slow, fast = "/queue/Consumer.slow.VirtualTopic.x", "/queue/Consumer.fast.VirtualTopic.x"
    for queue in (slow, fast):
        client = connect(to=broker)
        subscribe(client, queue)
        client.send("UNSUBSCRIBE", id="s")
        assert client.silent()
    producer = connect(to=broker)
    pour(producer, "/topic/VirtualTopic.x", numbered(1, MOST + 2))
    assert not is_heard(producer)
    assert drain(connect(to=broker), slow) == numbered(1, MOST + 2)
    producer.expect("RECEIPT", receipt_id="heard")
    assert drain(connect(to=broker), fast) == numbered(1, MOST + 2)


def test_what_comes_later_does_not_wait(server: BrokerProcess, connect: Connect) -> None:
    """What was accepted for later, or failed and comes again, is never given up for a limit."""
    queue = queue_in("block")
    producer = connect()
    pour(producer, queue, [b"later"], AMQ_SCHEDULED_DELAY="100")
    put(producer, queue, *numbered(1, MOST))
    let_pass(server, 0.3)
    assert peek(connect(), queue) == [*numbered(1, MOST), b"later"]
    consumer = connect()
    subscribe(consumer, queue, ack="client-individual", **{"activemq.prefetchSize": "1"})
    first = consumer.expect("MESSAGE")
    consumer.send("NACK", **acknowledgement(consumer, first), delay="50")
    consumer.expect("MESSAGE")
    accepted(consumer.ask("UNSUBSCRIBE", id="s"))
    let_pass(server, 0.2)
    assert drain(connect(), queue) == [*numbered(2, MOST), b"later", b"1"]


# The producer is refused.


def test_a_producer_may_be_refused_instead(connect: Connect) -> None:
    """An ERROR for each SEND, and the connection goes on; when there is room it is served again."""
    queue = queue_in("error")
    producer = connect()
    put(producer, queue, *numbered(1, MOST))
    for _ in range(2):
        answer = producer.ask("SEND", b"more", destination=queue)
        expect_error(answer, f"The queue {queue.removeprefix('/queue/')} is full")
    consumer = connect()
    subscribe(consumer, queue, ack="client-individual", **{"activemq.prefetchSize": "1"})
    consumer.expect("MESSAGE")
    put(producer, queue, b"6")
    consumer.close()
    assert drain(connect(), queue) == numbered(1, 6)


def test_a_refused_commit_leaves_the_transaction_open(connect: Connect) -> None:
    """It may be tried again when there is room, or aborted."""
    queue = queue_in("error")
    put(connect(), queue, *numbered(1, MOST))
    producer = connect()
    accepted(producer.ask("BEGIN", transaction="t"))
    for destination in (f"{queue}.other", queue):
        accepted(producer.ask("SEND", b"x", destination=destination, transaction="t"))
    expect_error(producer.ask("COMMIT", transaction="t"), "is full")
    assert peek(connect(), f"{queue}.other") == []
    assert drain(connect(), queue) == numbered(1, MOST)
    accepted(producer.ask("COMMIT", transaction="t"))
    assert drain(connect(), queue) == drain(connect(), f"{queue}.other") == [b"x"]


def test_a_composite_with_a_full_queue_is_refused_as_a_whole(connect: Connect) -> None:
    """Nobody gets a copy."""
    queue, other = queue_in("error"), queue_in("wide")
    put(connect(), queue, *numbered(1, MOST))
    expect_error(connect().ask("SEND", b"x", destination=f"{other},{queue}"), "is full")
    assert drain(connect(), other) == []


# The oldest give way.


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_the_oldest_may_give_way(connect: Connect, persistent: str) -> None:
    """Producers never wait; what was dropped is no dead letter."""
    queue = queue_in("drop")
    body = f"first {queue}".encode()
    put(connect(), queue, body, *numbered(1, 100), persistent=persistent)
    assert drain_all(connect(), queue, MOST) == numbered(101 - MOST, 100)
    assert body not in peek(connect(), "/queue/ActiveMQ.DLQ")


def drain_all(client: Client, queue: str, count: int) -> list[bytes]:
    """Consume what waits in a queue whose limit the sign of the end of `drain` would touch."""
    subscribe(client, queue, id="all")
    found = bodies(take(client, count))
    assert client.silent()
    accepted(client.ask("UNSUBSCRIBE", id="all"))
    return found


def test_the_oldest_give_way_where_they_are_only_on_disk(
    start_broker: StartBroker, connect: Connect
) -> None:
    """With a limit far beyond what is kept in memory, and over a restart."""
    settings: dict[str, object] = {
        'destination."a".max_messages': 5000,
        'destination."a".at_limit': "drop-oldest",
    }
    broker = start_broker(**settings)
    client = connect(to=broker)
    pour(client, "/queue/a", numbered(1, 11_999))
    put(client, "/queue/a", b"12000")
    broker.kill()
    broker = start_broker(**settings)
    client = connect(to=broker)
    pour(client, "/queue/a", numbered(12_001, 14_000))
    assert is_served(client)
    await_waiting(connect(to=broker), "a", 5000)
    subscribe(client, "/queue/a")
    assert bodies_of(bodies(take(client, 5000))) == list(range(9001, 14_001))
    assert client.silent()


# Memory.


def test_a_producer_waits_for_memory(connect: Connect) -> None:
    """Only what is not stored needs any; one that is larger than the limit comes when there is some."""
    queue = queue_in("memory.block")
    producer = connect()
    put(producer, queue, *[bytes(9000)] * 3, persistent="true")
    put(producer, queue, bytes(9000), bytes(50_000), persistent="false")
    pour(producer, queue, [b"last"], persistent="false")
    assert not is_heard(producer)
    found = drain(connect(), queue)
    assert [len(body) for body in found] == [9000] * 4 + [50_000, 4]
    producer.expect("RECEIPT", receipt_id="heard")


def test_memory_may_be_refused(connect: Connect) -> None:
    """As a queue that is full."""
    queue = queue_in("memory.error")
    put(connect(), queue, bytes(10_000), persistent="false")
    answer = connect().ask("SEND", b"x", destination=queue, persistent="false")
    expect_error(answer, "is full")
    assert len(drain(connect(), queue)) == 1


def test_the_oldest_in_memory_may_give_way(connect: Connect) -> None:
    """What is stored stays."""
    queue = queue_in("memory.drop")
    put(connect(), queue, b"stored", persistent="true")
    for number in range(1, 6):
        put(connect(), queue, b"%d" % number + bytes(3000), persistent="false")
    found = drain(connect(), queue)
    assert [body[:1] for body in found] == [b"s", b"3", b"4", b"5"]


def test_a_slow_subscriber_of_a_topic_loses_the_oldest(connect: Connect) -> None:
    """`pending_limit`, unless it asks for another; who is fast loses nothing."""
    topic = f"/topic/slow.{next(_numbers)}"
    slow, slower, fast = connect(), connect(), connect()
    subscribe(slow, topic, ack="client", **{"activemq.prefetchSize": "1"})
    limit = {"activemq.maximumPendingMessageLimit": "2"}
    subscribe(slower, topic, ack="client", **{"activemq.prefetchSize": "1", **limit})
    subscribe(fast, topic)
    put(connect(), topic, *numbered(1, 50))
    assert bodies(take(fast, 50)) == numbered(1, 50)
    for client, pending in ((slow, 10), (slower, 2)):
        got = []
        for _ in range(1 + pending):
            message = client.expect("MESSAGE")
            got.append(message.body)
            client.send("ACK", **acknowledgement(client, message))
        assert got == [b"1", *numbered(51 - pending, 50)]
        assert client.silent()


# The destination itself.


def test_a_destination_nobody_uses_is_removed_unless_it_is_kept(connect: Connect) -> None:
    """`keep_idle`; advisories tell what goes."""
    watcher = connect()
    names = [f"{kind}.{next(_numbers)}" for kind in ("kept", "fleeting")]
    subscribe(watcher, "/topic/ActiveMQ.Advisory.Queue")
    client = connect()
    for name in names:
        put(client, f"/queue/{name}", b"x")
        assert drain(client, f"/queue/{name}") == [b"x"]
    kept, fleeting = names
    gone: set[str] = set()
    while fleeting not in gone:
        told = json.loads(watcher.expect("MESSAGE").body)["DestinationInfo"]
        if told["operationType"] == 1:
            gone.add(told["destination"]["string"])
    assert kept not in gone


def test_a_durable_subscription_that_nobody_uses_is_removed(
    server: BrokerProcess, connect: Connect
) -> None:
    """`offline_timeout`; one that is in use is not."""
    topic = f"/topic/leaves.{next(_numbers)}"
    client_id = f"me {next(_numbers)}"
    name = {"activemq.subscriptionName": "n"}
    client = connect(client_id=client_id)
    subscribe(client, topic, **name)
    let_pass(server, 0.6)
    put(connect(), topic, b"1")
    assert client.expect("MESSAGE").body == b"1"
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    put(connect(), topic, b"2")
    let_pass(server, 0.8)
    subscribe(client, topic, **name)
    put(connect(), topic, b"3")
    assert client.expect("MESSAGE").body == b"3"
