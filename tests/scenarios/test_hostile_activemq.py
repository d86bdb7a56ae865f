"""Clients that turn what ActiveMQ has beyond STOMP against the broker, or against each other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    drain,
    expect_error,
    is_served,
    put,
    subscribe,
    take,
)

MANAGEMENT = "/topic/ActiveMQ.Scheduler.Management"
BROKER_STATISTICS = "/queue/ActiveMQ.Statistics.Broker"
STATISTICS_OF = "/queue/ActiveMQ.Statistics.Destination."
SOON = 1.5  # seconds that somebody may wait while others do their worst; a busy machine is slow


@pytest.fixture(autouse=True)
def bystander(server: BrokerProcess) -> Iterator[Client]:
    """Everybody else: connected all the while, and still served after each test."""
    with server.connect() as client:
        yield client
        assert is_served(client)


def ask(client: Client, command: str, headers: dict[str, str], body: bytes = b"") -> Frame:
    """Send a frame whose headers are written as they are, and return the RECEIPT or ERROR."""
    client.write(Frame(command, headers | {"receipt": "asked"}, body).encode(client.version))
    return client.frame()


def await_free_memory(client: Client) -> None:
    """Wait until the broker counts nothing as memory: the end of a link takes a moment to be noticed."""
    end = time.monotonic() + DEADLINE
    subscribe(client, "/temp-queue/memory", id="memory")
    usage = -1
    while usage:
        assert time.monotonic() < end, usage
        client.send("SEND", destination=BROKER_STATISTICS, reply_to="/temp-queue/memory")
        usage = json.loads(client.expect("MESSAGE").body)["memoryUsage"]
    accepted(client.ask("UNSUBSCRIBE", id="memory"))


def longest_wait(client: Client, until: Client) -> float:
    """Return the longest round trip of a client, in seconds, until another has something to read."""
    longest = 0.0
    until.socket.setblocking(False)
    while True:
        begun = time.monotonic()
        assert is_served(client)
        longest = max(longest, time.monotonic() - begun)
        try:
            if until.socket.recv(1):
                return longest
        except BlockingIOError:
            continue


# Services that talk to each other, or to themselves


def test_browsing_the_schedule_into_its_own_management(
    connect: Connect, start_broker: StartBroker
) -> None:
    """A scheduled message that is itself an order to browse is shown, not obeyed."""
    broker = start_broker("memory:")
    client, watcher = connect(to=broker), connect(to=broker)
    order = {"destination": MANAGEMENT, "AMQ_SCHEDULER_ACTION": "BROWSE", "reply-to": MANAGEMENT}
    for _ in range(2):  # each would be two, and so on
        job = order | {"destination": "/queue/later", "AMQ_SCHEDULED_DELAY": "100000"}
        accepted(ask(client, "SEND", job))
    accepted(ask(client, "SEND", order))
    subscribe(watcher, "/temp-queue/shown")
    accepted(ask(watcher, "SEND", order | {"reply-to": "/temp-queue/shown"}))
    assert len(take(watcher, 2)) == 2
    assert watcher.silent()


@pytest.mark.parametrize(
    "reply_to", [BROKER_STATISTICS, MANAGEMENT, f"{STATISTICS_OF}>,/queue/hostile.answers"]
)
def test_an_answer_is_no_question(connect: Connect, reply_to: str) -> None:
    """Statistics that are to be told to a service are told to nobody."""
    client = connect()
    for destination in (BROKER_STATISTICS, "/queue/ActiveMQ.Statistics.Subscription"):
        accepted(client.ask("SEND", destination=destination, reply_to=reply_to))
    assert is_served(client)
    drain(client, "/queue/hostile.answers")


def test_a_service_among_several_refuses(connect: Connect, queue: str) -> None:
    """When a service refuses what it was asked nobody else has got it either."""
    client = connect()
    answer = client.ask("SEND", b"x", destination=f"{queue},{BROKER_STATISTICS}")
    expect_error(answer, "needs a reply-to")
    assert drain(client, queue) == []


# Values that nobody expects


def test_a_timestamp_of_thousands_of_digits(connect: Connect, queue: str) -> None:
    """A sender's nonsense is no reason not to answer who asks when the first message was sent."""
    client = connect()
    put(client, queue, b"x", timestamp="9" * 5000)
    subscribe(client, "/temp-queue/answers")
    asked = {"ActiveMQ.Statistics.Destination.Include.First.Message.Timestamp": "true"}
    destination = STATISTICS_OF + queue.removeprefix("/queue/")
    client.send("SEND", destination=destination, reply_to="/temp-queue/answers", **asked)
    answer = json.loads(client.expect("MESSAGE").body)
    assert answer["size"] == 1
    assert "firstMessageTimestamp" not in answer


@pytest.mark.parametrize("blank", ["\x1f", "\x85", "\u2003", "\t"])
@pytest.mark.parametrize("name", ["expires", "ttl", "priority", "JMSXGroupSeq"])
def test_numbers_with_odd_blanks(connect: Connect, queue: str, name: str, blank: str) -> None:
    """Whatever passes for a blank in front of a number is one."""
    client = connect()
    sent = {"destination": queue, name: f"{blank}5"}
    assert ask(client, "SEND", sent).command in ("RECEIPT", "ERROR")
    assert is_served(client)


# Too much


def test_a_list_of_thousands(connect: Connect, queue: str) -> None:
    """A frame means hundreds of destinations at most, and a refused one makes none of them."""
    client = connect()
    many = ",".join(f"{queue}.{number}" for number in range(1000))
    for command, headers in (("SEND", {}), ("SUBSCRIBE", {"id": "many"})):
        expect_error(ask(client, command, headers | {"destination": many}), "at most 256")
    replies = ",".join(f"/temp-queue/{number}" for number in range(1000))
    answer = client.ask("SEND", destination="/topic/nobody.listens", reply_to=replies)
    expect_error(answer, "at most 256")
    subscribe(client, "/temp-queue/answers")
    destination = f"{STATISTICS_OF}{queue.removeprefix('/queue/')}.>"
    end = {"ActiveMQ.Statistics.Destination.List.End.With.Null": "true"}
    client.send("SEND", destination=destination, reply_to="/temp-queue/answers", **end)
    assert json.loads(client.expect("MESSAGE").body) == {}


def test_spellings_without_end(connect: Connect, start_broker: StartBroker) -> None:
    """One topic spelled in a thousand long ways is still one topic."""
    broker = start_broker("memory:")
    client = connect(to=broker)
    before = broker.memory()
    for number in range(1000):
        client.send(
            "SEND", destination=f"/topic/a{' ' * 50_000},/topic/b.{number % 3}{number * ' '}"
        )
    assert is_served(client)
    assert broker.memory() - before < 15_000_000


def test_statistics_of_a_pattern_without_end(connect: Connect) -> None:
    """A pattern is not longer than a name."""
    client = connect()
    destination = f"{STATISTICS_OF}*{'.a' * 10_000}"
    expect_error(client.ask("SEND", destination=destination, reply_to="/queue/x"), "too long")


def test_costly_questions_in_one_packet(connect: Connect, start_broker: StartBroker) -> None:
    """Hundreds of questions about thousands of queues, asked at once, do not keep others waiting."""
    broker = start_broker("memory:")
    client, other = connect(to=broker), connect(to=broker)
    sends = (f"SEND\ndestination:/queue/many.{n}\npersistent:false\n\nx\0" for n in range(5000))
    client.write("".join(sends).encode())
    assert is_served(client)
    question = f"SEND\ndestination:{BROKER_STATISTICS}\nreply-to:/queue/answers\n\n\0"
    last = "SEND\ndestination:/queue/ActiveMQ.Statistics.Subscription\nreply-to:/queue/end\n\n\0"
    client.send("SUBSCRIBE", destination="/queue/end", id="end")
    client.write((question * 200 + last).encode())
    assert longest_wait(other, client) < SOON


def test_wildcards_meeting_new_queues(connect: Connect, start_broker: StartBroker) -> None:
    """Others are served while thousands of wildcards meet every new queue of a packet."""
    broker = start_broker("memory:")
    client, sender, other = (connect(to=broker) for _ in range(3))
    wish = "SUBSCRIBE\nid:{}\ndestination:/queue/new.>\nack:client\n\n\0"
    client.write("".join(wish.format(number) for number in range(2000)).encode())
    assert is_served(client)
    sends = "".join(f"SEND\ndestination:/queue/new.{n}\npersistent:false\n\n\0" for n in range(60))
    sender.write(sends.encode() + b"BEGIN\ntransaction:t\nreceipt:done\n\n\0")
    assert longest_wait(other, sender) < SOON


def test_a_packet_that_takes_long_is_obeyed_to_its_end(
    connect: Connect, start_broker: StartBroker
) -> None:
    """Who hangs up in the midst of a packet that takes long has still sent all of it, in order."""
    broker = start_broker("memory:")
    client, other = connect(to=broker), connect(to=broker)
    sends = "".join(
        f"SEND\ndestination:/queue/long.{n}\n\nx\0SEND\ndestination:/queue/all\n\n{n}\0"
        for n in range(500)
    )
    client.write(sends.encode())
    client.close()
    subscribe(other, "/queue/all")
    assert [frame.body for frame in take(other, 500)] == [b"%d" % n for n in range(500)]


def test_orders_for_the_schedule_without_end(connect: Connect, start_broker: StartBroker) -> None:
    """Thousands of orders to look through the schedule are refused; ids that cannot be are no work."""
    broker = start_broker("memory:")
    client = connect(to=broker)
    job = "SEND\ndestination:/queue/later\nAMQ_SCHEDULED_DELAY:9000000\n\n\0"
    client.write((job * 1000).encode())
    order = {"destination": MANAGEMENT, "AMQ_SCHEDULER_ACTION": "REMOVE"}
    senseless = Frame("SEND", order | {"scheduledJobId": "x"}).encode("1.2")
    looking = Frame("SEND", order | {"scheduledJobId": f"job-{1 << 62}-0"}).encode("1.2")
    client.write(senseless * 10_000)
    assert is_served(client)
    client.write(looking * 20_000)
    expect_error(client.frame(), "Too many orders")


# What stays behind


def test_what_a_transaction_holds_counts(connect: Connect, start_broker: StartBroker) -> None:
    """Small verbs held in a transaction cannot fill the broker unseen; what is given up is free."""
    broker = start_broker("memory:", memory_limit=1_000_000)
    client, other = connect(to=broker), connect(to=broker)
    accepted(client.ask("BEGIN", transaction="t"))
    client.write(b"SEND\ndestination:/queue/a\ntransaction:t\n\nx\0" * 2000)
    expect_error(client.frame(), "full")
    client.send("ABORT", transaction="t", receipt="given up")
    while client.frame().command == "ERROR":
        pass
    await_free_memory(other)


def test_acknowledged_in_a_transaction_without_end(
    connect: Connect, start_broker: StartBroker
) -> None:
    """A backlog does not come into memory by being acknowledged in a transaction that never ends."""
    broker = start_broker(memory_limit=3_000_000)
    client = connect(to=broker)
    put(client, "/queue/large", *[b"x" * 500_000] * 10)
    accepted(client.ask("BEGIN", transaction="t"))
    prefetch = {"activemq.prefetchSize": "1"}
    client.send("SUBSCRIBE", destination="/queue/large", id="s", ack="client", **prefetch)
    while (frame := client.frame()).command == "MESSAGE":
        message = frame
        client.send("ACK", id=message.headers["ack"], transaction="t")
    expect_error(frame, "memory is full")
    accepted(client.ask("COMMIT", transaction="t"))
    client.send("ACK", id=message.headers["ack"])
    client.expect("MESSAGE")


def test_delayed_for_a_subscriber_who_is_gone(connect: Connect, start_broker: StartBroker) -> None:
    """What a subscriber of a topic put off for a century does not stay when it has gone."""
    broker = start_broker("memory:")
    watcher = connect(to=broker)

    def come_and_go() -> None:
        client = connect(to=broker)
        client.send("SUBSCRIBE", destination="/topic/t", id="s", ack="client")
        for _ in range(20):
            client.send("SEND", b"x" * 1000, destination="/topic/t")
        for message in take(client, 20):
            client.send("NACK", id=message.headers["ack"], delay="3000000000000")
        assert is_served(client)
        client.close()

    for _ in range(10):
        come_and_go()
    before = broker.memory()
    for _ in range(300):
        come_and_go()
    assert broker.memory() - before < 8_000_000
    await_free_memory(watcher)
