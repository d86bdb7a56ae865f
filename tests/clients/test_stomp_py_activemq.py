"""stomp.py, unchanged, uses what ActiveMQ has beyond the specification: a story per extension."""

from __future__ import annotations

import time

import pytest

from tests.clients.conftest import Talk
from tests.clients.talker import Talker, texts

NEWS = {"activemq.subscriptionName": "news"}


@pytest.fixture
def topic(queue: str) -> str:
    """Return a topic of the test's own."""
    return queue.replace("/queue/", "/topic/")


def taken(talker: Talker, number: int) -> list[tuple[str, str]]:
    """Return subscription and body of the next messages, in the order of both."""
    return sorted((each.headers["subscription"], each.body) for each in talker.take(number))


def test_durable_subscription(talk: Talk, later_version: str, topic: str) -> None:
    """Who subscribed durably, leaves and comes back gets what came meanwhile; to end it takes two steps."""
    me, writer = f"stomp.py {topic}", talk(later_version)
    reader = talk(later_version, client_id=me)
    reader.subscribe(topic, ack="client-individual", headers=NEWS)
    writer.send(topic, "while there", persistent="true")
    reader.ack(reader.expect("message"))
    reader.confirm(reader.connection.disconnect)
    writer.send(topic, "1", "2", persistent="true")
    reader = talk(later_version, client_id=me)
    reader.subscribe(topic, ack="client-individual", headers=NEWS)
    missed = reader.take(2)
    assert texts(missed) == ["1", "2"]
    for message in missed:
        reader.ack(message)
    reader.connection.unsubscribe(id="s", receipt="too early", headers=NEWS)
    error = reader.expect("error")
    assert error.headers["message"] == "Durable consumer is in use"
    assert error.headers["receipt-id"] == "too early"
    reader.unsubscribe()
    reader.unsubscribe(headers=NEWS)
    writer.send(topic, "after its end", persistent="true")
    reader.subscribe(topic, headers=NEWS)
    writer.send(topic, "after its new beginning")
    assert reader.expect("message").body == "after its new beginning"


def test_selector(talk: Talk, later_version: str, queue: str) -> None:
    """A selector takes what it means, in order, and leaves the rest; a bad one is told, and no more."""
    talker = talk(later_version)
    for color, amount in (("red", 50), ("red", 150), ("blue", 500), ("red", 1000)):
        talker.send(queue, f"{color} {amount}", color=color, amount=amount)
    talker.subscribe(queue, headers={"selector": "color = 'red' AND amount > 100"})
    assert texts(talker.take(2)) == ["red 150", "red 1000"]
    talker.nothing()
    talker.unsubscribe()
    talker.subscribe(queue)
    assert texts(talker.take(2)) == ["red 50", "blue 500"]
    talker.connection.subscribe(queue, "bad", headers={"selector": "color = = 'red'"})
    assert "Invalid selector" in talker.expect("error").headers["message"]
    talker.nothing()


def test_request_and_reply(talk: Talk, later_version: str, queue: str) -> None:
    """Somebody else answers to a temporary queue, by the name that he finds in `reply-to`."""
    asks, answers = talk(later_version), talk(later_version)
    asks.subscribe("/temp-queue/answers")
    answers.subscribe(queue)
    headers = {"reply-to": "/temp-queue/answers", "correlation-id": "c-1"}
    asks.send(queue, "2 + 2", headers=headers)
    question = answers.expect("message")
    reply_to = question.headers["reply-to"]
    assert reply_to.startswith("/remote-temp-queue/")
    answers.send(reply_to, "4", headers={"correlation-id": question.headers["correlation-id"]})
    answer = asks.expect("message")
    assert (answer.body, answer.headers["correlation-id"]) == ("4", "c-1")
    asks.confirm(asks.connection.disconnect)
    answers.connection.send(reply_to, "too late")
    assert "does not exist" in answers.expect("error").headers["message"]
    answers.nothing()


def test_dead_letter(talk: Talk, later_version: str, queue: str) -> None:
    """What is refused lies in ActiveMQ.DLQ, under its own id, and says where it was."""
    talker = talk(later_version)
    talker.send(queue, "poison", persistent="true", mark=queue)
    talker.subscribe(queue, ack="client-individual")
    message = talker.expect("message")
    talker.confirm(talker.connection.nack, *talker.named(message))
    talker.subscribe("/queue/ActiveMQ.DLQ", "dlq", headers={"selector": f"mark = '{queue}'"})
    dead = talker.expect("message")
    assert dead.body == "poison"
    assert dead.headers["destination"] == "/queue/ActiveMQ.DLQ"
    assert dead.headers["original-destination"] == queue
    assert dead.headers["message-id"] == message.headers["message-id"]
    assert "NACK" in dead.headers["dlqDeliveryFailureCause"]


def test_browser(talk: Talk, later_version: str, queue: str) -> None:
    """A browser sees everything and then the end; a consumer still finds all of it."""
    talker = talk(later_version)
    talker.send(queue, "1", "2", "3")
    talker.subscribe(queue, headers={"browser": "true"})
    seen = talker.take(4)
    assert texts(seen) == ["1", "2", "3", ""]
    assert seen[3].headers["browser"] == "end"
    talker.unsubscribe()
    talker.subscribe(queue)
    assert texts(talker.take(3)) == ["1", "2", "3"]


def test_delay(talk: Talk, later_version: str, queue: str) -> None:
    """A message with a delay comes after it, and those sent later come before."""
    talker = talk(later_version)
    talker.subscribe(queue)
    begun = time.monotonic()
    talker.connection.send(queue, "later", persistent="true", AMQ_SCHEDULED_DELAY=400)
    talker.connection.send(queue, "now")
    assert talker.expect("message").body == "now"
    later = talker.expect("message")
    assert later.body == "later"
    assert later.headers["scheduledJobId"]
    assert time.monotonic() - begun >= 0.399  # the broker's moments are whole milliseconds


def test_wildcards(talk: Talk, later_version: str, topic: str) -> None:
    """`*` is one element, `>` any number of them; a message says where it really was sent."""
    talker = talk(later_version)
    talker.subscribe(f"{topic}.*", "one")
    talker.subscribe(f"{topic}.>", "all")
    writer = talk(later_version)
    for end in (".x", ".x.y", ""):
        writer.send(topic + end, end)
    messages = talker.take(4)
    found = {(each.headers["subscription"], each.headers["destination"]) for each in messages}
    assert found == {
        ("one", f"{topic}.x"),
        ("all", f"{topic}.x"),
        ("all", f"{topic}.x.y"),
        ("all", topic),
    }
    talker.nothing()


def test_composite(talk: Talk, later_version: str, queue: str, topic: str) -> None:
    """One SEND to a queue and a topic reaches both."""
    talker = talk(later_version)
    talker.subscribe(queue, "queue")
    talker.subscribe(topic, "topic")
    talk(later_version).send(f"{queue},{topic}", "both")
    assert taken(talker, 2) == [("queue", "both"), ("topic", "both")]


def test_virtual_topic(talk: Talk, later_version: str, topic: str) -> None:
    """Consumers of a virtual topic share its messages within their queue, and each queue gets all."""
    name = topic.removeprefix("/topic/")
    talkers = [talk(later_version) for _ in range(3)]
    for talker, team in zip(talkers, "AAB", strict=True):
        talker.subscribe(f"/queue/Consumer.{team}.VirtualTopic.{name}")
    talk(later_version).send(f"/topic/VirtualTopic.{name}", "1", "2")
    assert [texts(talker.take(n)) for talker, n in zip(talkers, (1, 1, 2), strict=True)] == [
        ["1"],
        ["2"],
        ["1", "2"],
    ]


def test_exclusive_consumer(talk: Talk, later_version: str, queue: str) -> None:
    """One consumer gets everything; when it leaves, the next one goes on where it was."""
    first, second = talk(later_version), talk(later_version)
    for talker in (first, second):
        talker.subscribe(queue, ack="client-individual", headers={"activemq.exclusive": "true"})
    talk(later_version).send(queue, "1", "2", "3")
    held = first.take(3)
    assert texts(held) == ["1", "2", "3"]
    second.nothing()
    first.ack(held[0])
    first.confirm(first.connection.disconnect)
    assert texts(second.take(2)) == ["2", "3"]


def test_message_groups(talk: Talk, later_version: str, queue: str) -> None:
    """Each group stays with one consumer, in order."""
    talkers = [talk(later_version) for _ in range(2)]
    for talker in talkers:
        talker.subscribe(queue)
    writer = talk(later_version)
    for body in ("a1", "b1", "b2", "b3", "a2", "a3"):
        writer.send(queue, body, JMSXGroupID=body[0])
    assert [texts(talker.take(3)) for talker in talkers] == [["a1", "a2", "a3"], ["b1", "b2", "b3"]]
