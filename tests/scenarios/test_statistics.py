"""Asking the broker for numbers, by messages."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import ack, expect_error, let_pass, nack, put, subscribe, take

STATISTICS = "/queue/ActiveMQ.Statistics."
END = "ActiveMQ.Statistics.Destination.List.End.With.Null"
FIRST = "ActiveMQ.Statistics.Destination.Include.First.Message.Timestamp"
RESET = "ActiveMQ.Statistics.Broker.Reset"

#: Keys that ActiveMQ's clients look for.
COUNTS = {
    *("brokerName", "brokerId", "size", "enqueueCount", "dequeueCount", "dispatchCount"),
    *("expiredCount", "inflightCount", "messagesCached", "averageMessageSize"),
    *("memoryUsage", "memoryLimit", "memoryPercentUsage", "consumerCount", "producerCount"),
    *("averageEnqueueTime", "minEnqueueTime", "maxEnqueueTime"),
}
BROKER = COUNTS | {
    *("dataDirectory", "openwire", "stomp", "ssl", "stomp+ssl", "vm", "storeUsage", "storeLimit"),
    *("storePercentUsage", "tempUsage", "tempLimit", "tempPercentUsage"),
}
SUBSCRIPTION = {
    *("destinationName", "clientId", "connectionId", "sessionId", "selector", "prefetchSize"),
    *("dispatchedQueueSize", "dispatchedCounter", "enqueueCounter", "dequeueCounter"),
    "maximumPendingMessageLimit",
}


class Asker:
    """A client with a temporary queue for answers."""

    def __init__(self, client: Client) -> None:
        self.client = client
        subscribe(client, "/temp-queue/answers", id="answers")

    def send(self, what: str, **headers: str) -> None:
        """Ask; `what` is a destination, or what follows the usual beginning."""
        destination = what if what.startswith("/") else STATISTICS + what
        self.client.write(
            Frame(
                "SEND",
                {"destination": destination, "reply-to": "/temp-queue/answers", **headers},
            ).encode(self.client.version)
        )

    def ask(self, what: str, **headers: str) -> dict[str, Any]:
        """Ask, and return the one answer."""
        self.send(what, **headers)
        answer: dict[str, Any] = json.loads(self.client.expect("MESSAGE").body)
        return answer

    def ask_for_all(self, what: str) -> dict[str, dict[str, Any]]:
        """Return the answers for several destinations, by name."""
        self.send(what, **{END: "true"})
        found = {}
        while answer := json.loads(self.client.expect("MESSAGE").body):
            found[answer["destinationName"]] = answer
        return found


@pytest.fixture
def asker(connect: Connect) -> Asker:
    """Return somebody who asks."""
    return Asker(connect())


def test_a_queue_tells_what_waits_and_what_has_gone(
    asker: Asker, connect: Connect, queue: str
) -> None:
    name = queue.removeprefix("/queue/")
    client = connect()
    put(client, queue, b"1", b"2", b"3", b"4")
    subscribe(client, queue, ack="client-individual", **{"activemq.prefetchSize": "2"})
    first, _ = take(client, 2)
    client.send("ACK", id_=first.headers["ack"])
    take(client, 1)
    answer = asker.ask(f"Destination.{name}")
    assert answer.keys() == COUNTS | {"destinationName"}
    assert answer["destinationName"] == f"queue://{name}"
    assert {key: answer[key] for key in ("size", "enqueueCount", "dequeueCount")} == {
        "size": 3,
        "enqueueCount": 4,
        "dequeueCount": 1,
    }
    assert (answer["inflightCount"], answer["dispatchCount"]) == (2, 3)
    assert (answer["messagesCached"], answer["consumerCount"]) == (1, 1)
    assert answer["averageEnqueueTime"] is None  # nobody measures it


def test_what_was_there_before_a_restart_counts_when_it_goes(start_broker: StartBroker) -> None:
    broker = start_broker()
    with broker.connect() as client:
        put(client, "/queue/a", b"1", b"2")
    broker.stop()
    broker = start_broker(broker.store)
    with broker.connect() as client, broker.connect() as other:
        asker = Asker(other)
        answer = asker.ask("Destination.a")
        assert (answer["size"], answer["enqueueCount"], answer["dequeueCount"]) == (2, 0, 0)
        subscribe(client, "/queue/a", ack="client")
        ack(client, take(client, 2)[1])
        answer = asker.ask("Destination.a")
        assert (answer["size"], answer["enqueueCount"], answer["dequeueCount"]) == (0, 0, 2)


def test_messages_in_flight_of_one_subscription_are_counted_where_they_came_from(
    asker: Asker, connect: Connect, queue: str
) -> None:
    client = connect()
    put(client, f"{queue}.a", b"1")
    put(client, f"{queue}.b", b"2", b"3")
    subscribe(client, f"{queue}.*", ack="client")
    take(client, 3)
    answers = asker.ask_for_all(f"Destination.{queue.removeprefix('/queue/')}.>")
    assert [answer["inflightCount"] for answer in answers.values()] == [1, 2]
    assert [answer["size"] for answer in answers.values()] == [1, 2]


def test_a_pattern_brings_an_answer_for_each_queue_and_an_empty_one_at_the_end(
    asker: Asker, connect: Connect, queue: str
) -> None:
    name = queue.removeprefix("/queue/")
    put(connect(), f"{queue}.a,{queue}.b,{queue}.b.c", b"")
    assert list(asker.ask_for_all(f"Destination.{name}.*")) == [
        f"queue://{name}.a",
        f"queue://{name}.b",
    ]
    assert len(asker.ask_for_all(f"Destination.{name}.>")) == 3
    assert asker.ask_for_all(f"Destination.{name}.nothing") == {}
    # As ActiveMQ: the wish for the end may also be part of the name.
    asker.send(f"Destination.{END}.{name}.a")
    assert json.loads(asker.client.expect("MESSAGE").body)["destinationName"] == f"queue://{name}.a"
    assert asker.client.expect("MESSAGE").body == b"{}"


def test_the_age_of_a_queue_is_told_to_whoever_asks_for_it(
    asker: Asker, connect: Connect, queue: str
) -> None:
    """Its first message tells when it was sent; an empty queue does not."""
    name = queue.removeprefix("/queue/")
    client = connect()
    put(client, queue, b"", timestamp="1234567890123")
    put(client, queue, b"")
    assert asker.ask(f"Destination.{name}", **{FIRST: "true"})["firstMessageTimestamp"] == (
        1234567890123
    )
    subscribe(client, queue)
    take(client, 2)
    assert "firstMessageTimestamp" not in asker.ask(f"Destination.{name}", **{FIRST: "true"})


def test_the_age_of_a_queue_that_lies_on_disk_is_told(start_broker: StartBroker) -> None:
    broker = start_broker()
    with broker.connect() as client:
        put(client, "/queue/a", b"", timestamp="1234567890123")
    broker.stop()
    broker = start_broker(broker.store)
    with broker.connect() as client:
        answer = Asker(client).ask("Destination.a", **{FIRST: "true"})
        assert answer["firstMessageTimestamp"] == 1234567890123


def test_a_topic_tells_what_its_subscribers_have_yet_to_take(
    asker: Asker, connect: Connect, topic: str
) -> None:
    client = connect(client_id=topic)
    subscribe(client, topic, id="1", ack="client", **{"activemq.prefetchSize": "1"})
    subscribe(client, topic, id="2", **{"activemq.subscriptionName": "kept"})
    subscribe(client, f"{topic},/topic/other", id="3")
    put(connect(), topic, b"1", b"2", persistent="false")
    answer = asker.ask(topic.replace("/topic/", "/topic/ActiveMQ.Statistics.Destination."))
    assert answer["destinationName"] == topic.replace("/topic/", "topic://")
    assert (answer["enqueueCount"], answer["consumerCount"]) == (2, 3)
    assert (answer["size"], answer["inflightCount"], answer["messagesCached"]) == (2, 1, 1)
    assert answer["dequeueCount"] is None


def test_the_broker_tells_about_itself(start_broker: StartBroker) -> None:
    broker = start_broker(memory_limit=1_000_000)
    with broker.connect() as client, broker.connect() as other:
        asker = Asker(other)
        put(client, "/queue/a", b"x" * 250_000, persistent="false")
        put(client, "/queue/a", b"1", b"2")
        put(client, "/topic/t", b"3")
        answer = asker.ask("Broker")
        assert answer.keys() >= BROKER
        assert answer["brokerId"].startswith(answer["brokerName"])
        assert answer["stomp"] == broker.url
        assert broker.store == f"lmdb:{answer['dataDirectory']}"
        assert (answer["size"], answer["enqueueCount"], answer["dequeueCount"]) == (3, 4, 0)
        assert answer["memoryLimit"] == 1_000_000
        assert answer["memoryUsage"] >= 250_000
        assert answer["memoryPercentUsage"] == 25
        assert 0 < answer["storeUsage"] < 1_000_000
        assert answer["storeRoom"] > 1_000_000
        assert answer["consumerCount"] == 1


def test_queues_that_are_no_more_still_count(start_broker: StartBroker) -> None:
    broker = start_broker("memory:", sweep_every=0.05)
    with broker.connect() as client, broker.connect() as other:
        asker = Asker(other)
        subscribe(client, "/topic/ActiveMQ.Advisory.Queue", id="watch")
        put(other, "/queue/a", b"1")
        client.expect("MESSAGE")
        subscribe(client, "/queue/a", id="a")
        assert client.expect("MESSAGE").body == b"1"
        client.ask("UNSUBSCRIBE", id_="a")
        assert b'"operationType":1' in client.expect("MESSAGE").body
        answer = asker.ask("Broker")
        assert (answer["enqueueCount"], answer["dequeueCount"]) == (1, 1)
        assert asker.ask_for_all("Destination.>") == {}


def test_counting_begins_anew_on_request(start_broker: StartBroker) -> None:
    broker = start_broker("memory:")
    with broker.connect() as client, broker.connect() as other:
        asker = Asker(other)
        put(client, "/queue/a", b"1", b"2")
        put(client, "/topic/t", b"3")
        subscribe(client, "/queue/a", ack="client-individual")
        first, second = take(client, 2)
        ack(client, first)
        answer = asker.ask("Broker", **{RESET: "true"})
        assert (answer["size"], answer["enqueueCount"], answer["dequeueCount"]) == (1, 0, 0)
        ack(client, second)
        answer = asker.ask("Destination.a")
        assert (answer["size"], answer["enqueueCount"], answer["dequeueCount"]) == (0, 0, 1)
        answer = asker.ask("Broker")
        assert (answer["size"], answer["dequeueCount"]) == (0, 3)  # and the answers


def test_dead_letters_and_expired_messages_have_gone(
    server: BrokerProcess, asker: Asker, connect: Connect, queue: str
) -> None:
    name = queue.removeprefix("/queue/")
    client = connect()
    put(client, queue, b"old", ttl="1")
    put(client, queue, b"bad")
    let_pass(server, 0.1)
    subscribe(client, queue, ack="client-individual")
    nack(client, take(client, 1)[0])
    answer = asker.ask(f"Destination.{name}")
    assert (answer["size"], answer["expiredCount"], answer["dequeueCount"]) == (0, 1, 2)
    assert answer["dispatchCount"] == 1


def test_subscriptions_tell_whose_they_are_and_what_they_hold(
    asker: Asker, connect: Connect, topic: str
) -> None:
    client = connect(client_id="me")
    limits = {"activemq.prefetchSize": "1", "activemq.maximumPendingMessageLimit": "9"}
    subscribe(client, topic, ack="client-individual", selector="a = 1", **limits)
    put(connect(), topic, b"1", b"2", b"3", a="1")
    ack_first = take(client, 1)[0]
    client.send("ACK", id_=ack_first.headers["ack"])
    take(client, 1)
    asker.send("Subscription")
    mine: dict[str, Any] = {}
    while mine.get("clientId") != "me":
        mine = json.loads(asker.client.expect("MESSAGE").body)
    assert mine.keys() >= SUBSCRIPTION
    assert mine["destinationName"] == topic.replace("/topic/", "topic://")
    assert mine["connectionId"] == client.connected.headers["session"]
    assert (mine["selector"], mine["prefetchSize"]) == ("a = 1", 1)
    assert mine["maximumPendingMessageLimit"] == 9
    assert [mine[key] for key in ("enqueueCounter", "dispatchedCounter", "dequeueCounter")] == [
        *(3, 2, 1)
    ]
    assert mine["dispatchedQueueSize"] == 1


def test_an_answer_says_what_it_answers_in_every_version(connect: Connect, version: str) -> None:
    asker = Asker(connect(version))
    asker.send("Broker", **{"correlation-id": "a:b"})
    frame = asker.client.expect("MESSAGE")
    assert frame.headers["correlation-id"] == "a:b"
    assert frame.headers["content-type"] == "application/json"
    assert frame.headers["type"] == "Advisory"
    assert "transformation" not in frame.headers


def test_whoever_wants_activemqs_own_maps_gets_them(asker: Asker) -> None:
    answer = asker.ask("Broker", transformation="jms-map-json")
    entries = answer["map"]["entry"]
    assert {"string": "tempUsage", "long": 0} in entries
    assert {"string": ["openwire", ""]} in entries
    assert {"string": "minEnqueueTime", "null": ""} in entries
    asker.send("Broker", transformation="jms-map-xml")
    frame = asker.client.expect("MESSAGE", transformation="jms-map-xml")
    tree = ElementTree.fromstring(frame.body)
    found = {entry[0].text: (entry[1].tag, entry[1].text) for entry in tree}
    assert found["tempUsage"] == ("long", "0")
    assert found["averageMessageSize"][0] == "double"
    assert found["minEnqueueTime"] == ("null", None)


@pytest.mark.parametrize("what", ["Broker", "Destination.>", "Subscription"])
def test_whoever_does_not_say_where_to_answer_is_told(connect: Connect, what: str) -> None:
    client = connect()
    expect_error(client.ask("SEND", destination=STATISTICS + what), "needs a reply-to")
    assert client.silent()


def test_a_question_in_a_transaction_is_answered_at_commit(asker: Asker) -> None:
    client = asker.client
    client.send("BEGIN", transaction="t")
    asker.send("Broker", transaction="t")
    client.send("SEND", destination=f"{STATISTICS}Broker", transaction="t")  # nobody to answer
    asker.send("Destination.nothing", transaction="t", **{END: "true"})
    assert client.silent()
    client.send("COMMIT", transaction="t")
    assert b"brokerName" in client.expect("MESSAGE").body
    assert client.expect("MESSAGE").body == b"{}"


def test_other_names_that_begin_so_are_queues_like_all_others(
    server: BrokerProcess, connect: Connect
) -> None:
    client = connect()
    put(client, f"{STATISTICS}Mine", b"1")
    subscribe(client, f"{STATISTICS}Mine")
    assert take(client, 1)[0].body == b"1"
