"""Watching: what happens in the broker is told on topics, while somebody listens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import ack, expect_error, is_served, let_pass, nack, put, subscribe, take

ADVISORY = "/topic/ActiveMQ.Advisory."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker whose every client is one of these stories'."""
    directory: Path = tmp_path_factory.mktemp("watched")
    process = BrokerProcess(
        "memory:",
        directory,
        {
            'destination."told.>".advise_consumed': True,
            'destination."told.>".advise_delivered': True,
            'destination."told.again.>".redelivery_delay': 0.05,
            'destination."narrow.>".max_messages': 1,
            'destination."narrow.drop".at_limit': "drop-oldest",
            'destination."narrow.error".at_limit': "error",
        },
    )
    yield process
    process.kill()


@pytest.fixture
def watch(connect: Connect) -> Any:
    """Return a function that begins to watch: `watch("Connection")`."""

    def begin(topic: str, **headers: str) -> Client:
        watcher = connect()
        subscribe(watcher, ADVISORY + topic, **headers)
        return watcher

    return begin


def told(watcher: Client, topic: str) -> tuple[Frame, Any]:
    """Return the next advisory, which must be on this topic, and what its body says."""
    frame = watcher.expect("MESSAGE")
    assert frame.headers["destination"] == ADVISORY + topic, (frame, frame.body)
    return frame, json.loads(frame.body)


def test_whoever_watches_connections_hears_who_is_there_who_comes_and_who_goes(
    connect: Connect, watch: Any
) -> None:
    first = connect(client_id="first", login="anna")
    watcher = watch("Connection")
    others = [json.loads(watcher.expect("MESSAGE").body)["ConnectionInfo"] for _ in range(2)]
    assert ("first", "anna", "") in [
        (info["clientId"], info["userName"], info["password"]) for info in others
    ]
    second = connect(client_id="second", passcode="secret")
    frame, command = told(watcher, "Connection")
    assert command["ConnectionInfo"]["clientId"] == "second"
    assert b"secret" not in frame.body
    second.close()
    _, command = told(watcher, "Connection")
    assert command["RemoveInfo"]["objectId"] == {
        "@class": "ConnectionId",
        "value": second.connected.headers["session"],
    }
    first.ask("DISCONNECT")
    _, command = told(watcher, "Connection")
    assert command["RemoveInfo"]["objectId"]["value"] == first.connected.headers["session"]


def test_an_advisory_says_what_it_is_and_where_it_comes_from(
    server: BrokerProcess, connect: Connect, watch: Any, queue: str
) -> None:
    """As ActiveMQ: clients look for these headers."""
    watcher = watch("Queue")
    consumer = connect()
    subscribe(consumer, queue)
    while (frame := watcher.expect("MESSAGE")) and queue[7:].encode() not in frame.body:
        pass
    headers = frame.headers
    assert headers["type"] == "Advisory"
    assert headers["transformation"] == "jms-advisory-json"
    assert headers["originBrokerURL"] == server.url
    assert headers["originBrokerId"].startswith(headers["originBrokerName"])
    assert json.loads(frame.body) == {
        "DestinationInfo": {
            "destination": {"@class": "ActiveMQQueue", "string": queue.removeprefix("/queue/")},
            "operationType": 0,
        }
    }


def test_consumers_of_a_queue_are_told_with_their_count(
    connect: Connect, watch: Any, queue: str
) -> None:
    """This is how a producer knows that somebody is there to work."""
    place = f"Consumer.Queue.{queue.removeprefix('/queue/')}"
    early, late = connect(client_id="early"), connect()
    subscribe(early, queue, ack="client", selector="a = 'b'", **{"activemq.prefetchSize": "7"})
    watcher = watch(place)
    frame, command = told(watcher, place)
    info = command["ConsumerInfo"]
    assert (info["clientId"], info["selector"], info["prefetchSize"]) == ("early", "a = 'b'", 7)
    assert frame.headers["consumerCount"] == "1"
    subscribe(late, queue)
    assert told(watcher, place)[0].headers["consumerCount"] == "2"
    late.ask("UNSUBSCRIBE", id_="s")
    frame, command = told(watcher, place)
    assert frame.headers["consumerCount"] == "1"
    assert command["RemoveInfo"]["objectId"]["connectionId"] == late.connected.headers["session"]
    early.close()
    assert told(watcher, place)[0].headers["consumerCount"] == "0"


def test_consumers_of_topics_are_watched_by_wildcard_in_every_version(
    connect: Connect, topic: str, version: str
) -> None:
    watcher = connect(version)
    subscribe(watcher, f"{ADVISORY}Consumer.Topic.scenario.*")
    name = topic.removeprefix("/topic/")
    subscribe(connect(), topic)
    assert told(watcher, f"Consumer.Topic.{name}")[0].headers["consumerCount"] == "1"
    subscribe(connect(), f"{topic},{topic}.other")
    assert told(watcher, f"Consumer.Topic.{name}")[0].headers["consumerCount"] == "2"


def test_a_wildcard_consumer_is_told_under_its_pattern_and_counts_for_each_queue(
    connect: Connect, watch: Any, queue: str
) -> None:
    name = queue.removeprefix("/queue/")
    subscribe(connect(), f"{queue}.x")
    watcher = watch(f"Consumer.Queue.{name}.>")
    told(watcher, f"Consumer.Queue.{name}.x")
    subscribe(connect(), f"{queue}.>")
    frame, command = told(watcher, f"Consumer.Queue.{name}.>")
    assert command["ConsumerInfo"]["destination"]["string"] == f"{name}.>"
    assert frame.headers["consumerCount"] == "2"


def test_temporary_destinations_are_told_with_their_owner(connect: Connect, watch: Any) -> None:
    owner = connect()
    subscribe(owner, "/temp-queue/before", id="before")
    watcher = watch("TempQueue")
    _, there = told(watcher, "TempQueue")
    subscribe(owner, "/temp-queue/after", id="after")
    _, made = told(watcher, "TempQueue")
    assert [each["DestinationInfo"]["operationType"] for each in (there, made)] == [0, 0]
    session = owner.connected.headers["session"]
    assert made["DestinationInfo"]["connectionId"] == {"value": session}
    owner.close()
    gone = [told(watcher, "TempQueue")[1]["DestinationInfo"] for _ in range(2)]
    assert [each["operationType"] for each in gone] == [1, 1]
    assert [each["destination"] for each in gone] == [
        each["DestinationInfo"]["destination"] for each in (there, made)
    ]


def test_consumers_of_a_temporary_queue_are_counted(start_broker: StartBroker) -> None:
    broker = start_broker("memory:")
    with broker.connect() as watcher, broker.connect() as owner:
        subscribe(watcher, f"{ADVISORY}Consumer.>")
        counts = []
        for id in ("1", "2"):
            subscribe(owner, "/temp-queue/x", id=id)
            counts.append(watcher.expect("MESSAGE").headers["consumerCount"])
        owner.ask("UNSUBSCRIBE", id_="1")
        counts.append(watcher.expect("MESSAGE").headers["consumerCount"])
        assert counts == ["1", "2", "1"]


def test_a_dead_letter_is_told(connect: Connect, watch: Any, queue: str) -> None:
    place = queue.removeprefix("/queue/")
    watcher = watch("MessageDLQd.>")
    client = connect()
    put(client, queue, b"bad")
    subscribe(client, queue, ack="client-individual")
    [message] = take(client, 1)
    nack(client, message)
    frame, command = told(watcher, f"MessageDLQd.Queue.{place}")
    assert frame.headers["orignalMessageId"] == message.headers["message-id"]
    assert frame.headers["orignalDestination"] == f"queue://{place}"
    assert command["ActiveMQMessage"]["destination"]["string"] == place
    assert b"bad" not in frame.body


def test_an_expired_message_is_told(
    server: BrokerProcess, connect: Connect, watch: Any, queue: str
) -> None:
    place = queue.removeprefix("/queue/")
    watcher = watch(f"Expired.Queue.{place}")
    client = connect()
    put(client, queue, b"late", expires="1")
    put(client, queue, b"soon", ttl="1", priority="9")
    put(client, queue, b"last")
    let_pass(server, 0.1)
    subscribe(client, queue)
    assert take(client, 1)[0].body == b"last"
    frame, command = told(watcher, f"Expired.Queue.{place}")
    assert command["ActiveMQMessage"]["expiration"] > 1
    assert frame.headers["orignalDestination"] == f"queue://{place}"


def test_what_a_full_queue_gives_up_is_told(connect: Connect, watch: Any) -> None:
    watcher = watch("MessageDiscarded.Queue.narrow.drop")
    client = connect()
    put(client, "/queue/narrow.drop", b"1", b"2", b"3")
    for count in ("1", "2"):
        frame, _ = told(watcher, "MessageDiscarded.Queue.narrow.drop")
        assert frame.headers["discardedCount"] == count


def test_a_full_queue_is_told_and_so_is_whoever_has_to_wait(connect: Connect, watch: Any) -> None:
    watcher = watch("*.Queue.narrow.>")
    producer, consumer = connect(), connect()
    put(producer, "/queue/narrow.error", b"1")
    producer.send("SEND", b"2", destination="/queue/narrow.error")
    expect_error(producer.frame(), "is full")
    frame, _ = told(watcher, "FULL.Queue.narrow.error")
    assert (frame.headers["usageName"], frame.headers["usageCount"]) == ("messages", "1")
    put(producer, "/queue/narrow.block", b"1")
    producer.send("SEND", b"2", destination="/queue/narrow.block", receipt="2")
    told(watcher, "FULL.Queue.narrow.block")
    frame, command = told(watcher, "FastProducer.Queue.narrow.block")
    session = producer.connected.headers["session"]
    assert frame.headers["producerId"] == session
    assert command["ProducerInfo"]["destination"]["string"] == "narrow.block"
    subscribe(consumer, "/queue/narrow.block")
    told(watcher, "Consumer.Queue.narrow.block")
    assert len(take(consumer, 2)) == 2
    producer.expect("RECEIPT", receipt_id="2")


def test_a_topics_subscriber_that_falls_behind_is_told_once_and_then_what_it_loses(
    connect: Connect, watch: Any, topic: str
) -> None:
    """More wait for it than it takes at once; it is told again after it has caught up."""
    place = f"Topic.{topic.removeprefix('/topic/')}"
    watcher = watch(f"*.{place}")
    slow, producer = connect(), connect()
    limits = {"activemq.prefetchSize": "1", "activemq.maximumPendingMessageLimit": "3"}
    subscribe(slow, topic, ack="client-individual", **limits)
    told(watcher, f"Consumer.{place}")
    for _ in range(2):
        put(producer, topic, *(b"%d" % number for number in range(5)))
        frame, command = told(watcher, f"SlowConsumer.{place}")
        assert command["ConsumerInfo"]["prefetchSize"] == 1
        name = frame.headers["consumerId"]
        assert name.startswith(slow.connected.headers["session"])
        frame, _ = told(watcher, f"MessageDiscarded.{place}")
        assert frame.headers["consumerId"] == name
        for body in (b"0", b"2", b"3", b"4"):
            [message] = take(slow, 1)
            assert message.body == body
            slow.send("ACK", id_=message.headers["ack"])
        assert slow.silent()


def test_every_message_is_told_where_the_policy_asks_for_it(connect: Connect, watch: Any) -> None:
    """Delivered is what the broker has, consumed is what is gone for good."""
    watcher = watch("*.Queue.told.q")
    producer, consumer = connect(), connect()
    put(producer, "/queue/told.q", b"1")
    delivered, command = told(watcher, "MessageDelivered.Queue.told.q")
    assert command["ActiveMQMessage"]["persistent"] is True
    subscribe(consumer, "/queue/told.q", ack="client")
    told(watcher, "Consumer.Queue.told.q")
    [message] = take(consumer, 1)
    assert delivered.headers["orignalMessageId"] == message.headers["message-id"]
    ack(consumer, message)
    consumed, _ = told(watcher, "MessageConsumed.Queue.told.q")
    assert consumed.headers["orignalMessageId"] == message.headers["message-id"]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("selector", ["", "a is null"])
def test_what_is_acknowledged_as_it_is_sent_is_told_once(
    connect: Connect, watch: Any, queue: str, waits: bool, selector: str
) -> None:
    name = f"told.{queue.removeprefix('/queue/')}"
    watcher = watch(f"MessageConsumed.Queue.{name}")
    client = connect()
    chooses = {"selector": selector} if selector else {}
    if waits:
        put(client, f"/queue/{name}", b"1", b"2")
    subscribe(client, f"/queue/{name}", **chooses)
    if not waits:
        for body in (b"1", b"2"):
            client.send("SEND", body, destination=f"/queue/{name}")
    ids = [message.headers["message-id"] for message in take(client, 2)]
    assert [
        told(watcher, f"MessageConsumed.Queue.{name}")[0].headers["orignalMessageId"]
        for _ in range(2)
    ] == ids
    assert is_served(watcher)


def test_each_subscriber_of_a_topic_consumes_a_message_that_is_delivered_once(
    connect: Connect, watch: Any
) -> None:
    watcher = watch("*.Topic.told.t")
    client, other = connect(), connect()
    subscribe(client, "/topic/told.t")
    subscribe(other, "/topic/told.t")
    told(watcher, "Consumer.Topic.told.t")
    told(watcher, "Consumer.Topic.told.t")
    client.send("SEND", b"1", destination="/topic/told.t")
    told(watcher, "MessageDelivered.Topic.told.t")
    told(watcher, "MessageConsumed.Topic.told.t")
    told(watcher, "MessageConsumed.Topic.told.t")
    assert is_served(watcher)


def test_what_comes_again_later_is_not_consumed_yet(connect: Connect, watch: Any) -> None:
    name = "told.again.q"
    watcher = watch(f"MessageConsumed.Queue.{name}")
    client = connect()
    put(client, f"/queue/{name}", b"1")
    subscribe(client, f"/queue/{name}", ack="client-individual")
    nack(client, take(client, 1)[0], requeue="true")
    [again] = take(client, 1)
    assert watcher.silent()
    ack(client, again)
    told(watcher, f"MessageConsumed.Queue.{name}")


def test_what_is_refused_for_good_is_consumed(connect: Connect, watch: Any, queue: str) -> None:
    """As with ActiveMQ: it is a dead letter, and gone from its queue."""
    place = f"Queue.told.{queue.removeprefix('/queue/')}"
    watcher = watch(f"*.{place}")
    client = connect()
    put(client, queue.replace("/queue/", "/queue/told."), b"1")
    told(watcher, f"MessageDelivered.{place}")
    subscribe(client, queue.replace("/queue/", "/queue/told."), ack="client-individual")
    told(watcher, f"Consumer.{place}")
    nack(client, take(client, 1)[0])
    told(watcher, f"MessageDLQd.{place}")
    told(watcher, f"MessageConsumed.{place}")


@pytest.mark.parametrize("mode", ["auto", "client"])
def test_a_durable_subscriber_consumes_too(connect: Connect, watch: Any, mode: str) -> None:
    """What it gets at once, and what has waited for it: each once."""
    place = f"Topic.told.kept.{mode}"
    watcher = watch(f"MessageConsumed.{place}")
    client = connect(client_id=f"durable {mode}")
    name = {"activemq.subscriptionName": "n"}
    topic = f"/topic/told.kept.{mode}"
    subscribe(client, topic, ack=mode, **name)
    client.ask("UNSUBSCRIBE", id_="s")
    put(connect(), topic, b"1")
    subscribe(client, topic, ack=mode, **name)
    messages = take(client, 1)
    put(connect(), topic, b"2")
    messages += take(client, 1)
    if mode == "client":
        ack(client, messages[1])
    ids = [told(watcher, f"MessageConsumed.{place}")[0].headers for _ in range(2)]
    assert [each["orignalMessageId"] for each in ids] == [
        message.headers["message-id"] for message in messages
    ]
    assert watcher.silent()


def test_everything_can_be_watched_by_a_wildcard(start_broker: StartBroker) -> None:
    """As with ActiveMQ: also by whoever wants all topics."""
    broker = start_broker("memory:")
    with broker.connect() as watcher, broker.connect() as client:
        subscribe(watcher, "/topic/>")
        subscribe(client, "/queue/a")
        told(watcher, "Queue")
        told(watcher, "Consumer.Queue.a")
        client.send("SEND", b"1", destination="/topic/t")
        told(watcher, "Topic")
        assert watcher.expect("MESSAGE", destination="/topic/t").body == b"1"


def test_nothing_is_told_of_those_who_watch(start_broker: StartBroker) -> None:
    """Else watching would be something to watch."""
    broker = start_broker("memory:", **{'destination.">".advise_consumed': True})
    with broker.connect() as watcher, broker.connect() as other, broker.connect() as client:
        for number, topic in enumerate(("Topic", "Consumer.>", "MessageConsumed.>")):
            subscribe(watcher, ADVISORY + topic, id=str(number))
        subscribe(other, f"{ADVISORY}Consumer.Topic.ActiveMQ.>", id="1")
        subscribe(other, f"{ADVISORY}Queue", id="2")
        subscribe(client, "/queue/a")
        told(watcher, "Consumer.Queue.a")
        told(other, "Queue")
        assert watcher.silent()


def test_a_selector_chooses_advisories(connect: Connect, watch: Any, queue: str) -> None:
    name = queue.removeprefix("/queue/")
    watcher = watch(f"Consumer.Queue.{name}", selector="consumerCount = 0")
    client = connect()
    subscribe(client, queue)
    client.ask("UNSUBSCRIBE", id_="s")
    assert "RemoveInfo" in told(watcher, f"Consumer.Queue.{name}")[1]


def test_queues_and_advisories_can_be_one_subscription(connect: Connect, queue: str) -> None:
    name = queue.removeprefix("/queue/")
    client = connect()
    subscribe(client, f"{queue},{ADVISORY}Consumer.Queue.{name}", ack="client")
    told(client, f"Consumer.Queue.{name}")
    put(connect(), queue, b"work")
    assert client.expect("MESSAGE", destination=queue).body == b"work"


def test_advisories_are_not_stored(connect: Connect) -> None:
    client = connect(client_id="keeper")
    headers = {"activemq.subscriptionName": "n"}
    client.send("SUBSCRIBE", destination=f"{ADVISORY}Connection", id_="s", **headers)
    expect_error(client.frame(), "Advisories are not stored")


def test_a_queue_that_is_no_longer_used_is_told(start_broker: StartBroker) -> None:
    broker = start_broker("memory:", sweep_every=0.05)
    with broker.connect() as watcher, broker.connect() as client:
        subscribe(watcher, f"{ADVISORY}Queue")
        subscribe(client, "/queue/short")
        told(watcher, "Queue")
        client.ask("UNSUBSCRIBE", id_="s")
        _, command = told(watcher, "Queue")
        assert command["DestinationInfo"]["operationType"] == 1


def test_a_thousand_are_told_to_whoever_comes_late(start_broker: StartBroker) -> None:
    """Gradually, so that others are served meanwhile."""
    broker = start_broker("memory:")
    with broker.connect() as client, broker.connect() as watcher:
        for number in range(1000):
            client.send("SEND", b"", destination=f"/queue/many.{number}")
        assert client.silent()
        subscribe(watcher, f"{ADVISORY}Queue")
        names = {
            json.loads(frame.body)["DestinationInfo"]["destination"]["string"]
            for frame in take(watcher, 1000)
        }
        assert len(names) == 1000
