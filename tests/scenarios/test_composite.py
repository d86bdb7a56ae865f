"""Several destinations at once: named by a client, with commas, or composed by an operator."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    bodies,
    drain,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

# --- SEND to a list -----------------------------------------------------------------------------------


def test_everybody_named_gets_a_message(
    connect: Connect, version: str, queue: str, topic: str
) -> None:
    """Each of its own: it says its own destination, and is acknowledged by itself."""
    sender, client = connect(version), connect(version)
    subscribe(client, topic, id="t")
    put(sender, f"{queue}.a,{queue}.b,{topic}", b"x", mark="1")
    client.expect("MESSAGE", destination=topic, mark="1")
    for name in (".a", ".b"):
        subscribe(client, queue + name, id=name, ack="client")
        message = client.expect("MESSAGE", destination=queue + name, mark="1")
        accepted(ack(client, message))


def test_what_has_no_prefix_is_a_queue(connect: Connect, queue: str) -> None:
    """Whatever the one before it is; and blanks around a name do not count."""
    client, name = connect(), queue.removeprefix("/queue/")
    put(client, f" /topic/{name}.t , {name}.a,{queue}.b ", b"x")
    for each in (".a", ".b"):
        assert drain(client, queue + each) == [b"x"]


def test_who_is_named_twice_gets_it_once(connect: Connect, queue: str) -> None:
    client, name = connect(), queue.removeprefix("/queue/")
    put(client, f"{queue},{name},,{queue},", b"x")
    assert drain(client, queue) == [b"x"]


@pytest.mark.parametrize("destination", [",", " , ,", "", " "])
def test_a_list_of_nobody_is_refused(connect: Connect, destination: str) -> None:
    client = connect()
    expect_error(client.ask("SEND", destination=destination), "Invalid empty")
    expect_error(client.ask("SUBSCRIBE", destination=destination, id="s"), "Invalid empty")
    assert is_served(client)


def test_one_name_that_cannot_be_spoils_the_list(connect: Connect, queue: str) -> None:
    """Nobody gets it."""
    client = connect()
    for bad in ("/queue/", f"{queue}.*", "/queue/" + "x" * 256):
        answer = client.ask("SEND", destination=f"{queue},{bad}")
        assert answer.command == "ERROR"
    assert drain(client, queue) == []


def test_sent_to_a_list_in_a_transaction(connect: Connect, queue: str) -> None:
    client = connect()
    for name in (".a", ".b"):
        subscribe(client, queue + name, id=name)
    client.send("BEGIN", transaction="t")
    accepted(client.ask("SEND", b"x", destination=f"{queue}.a,{queue}.b", transaction="t"))
    assert is_served(client)
    client.send("COMMIT", transaction="t")
    assert {each.headers["destination"] for each in take(client, 2)} == {f"{queue}.a", f"{queue}.b"}


def test_a_list_is_all_or_nothing_at_a_restart(start_broker: StartBroker, connect: Connect) -> None:
    """The RECEIPT stands for all of them."""
    broker = start_broker()
    put(connect(to=broker), "/queue/a,/queue/b", b"x")
    broker.kill()
    client = connect(to=start_broker())
    for name in "ab":
        subscribe(client, f"/queue/{name}", id=name)
        assert client.expect("MESSAGE", destination=f"/queue/{name}").body == b"x"


def test_two_copies_that_meet_again_are_two(connect: Connect, version: str, queue: str) -> None:
    """They have one message-id, until they meet in one subscription: then each ACK means one."""
    client = connect(version)
    put(client, f"{queue}.a,{queue}.b", b"x")
    subscribe(client, f"{queue}.a,{queue}.b", ack="client-individual")
    one, two = take(client, 2)
    assert one.headers["message-id"] != two.headers["message-id"] or version == "1.2"
    for message in (one, two):
        accepted(ack(client, message))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(client, f"{queue}.a") == drain(client, f"{queue}.b") == []


def test_two_copies_meet_among_the_dead_letters(connect: Connect, queue: str) -> None:
    """A consumer of dead letters gets both, and may acknowledge both."""
    client = connect("1.1")
    put(client, f"{queue}.a,{queue}.b", b"x", mark=queue)
    subscribe(client, f"{queue}.a,{queue}.b", ack="client")
    for message in take(client, 2):
        accepted(nack(client, message))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    for _ in range(2):
        subscribe(client, "/queue/ActiveMQ.DLQ", ack="client", selector=f"mark = '{queue}'")
        letters = take(client, 2)
        origins = {letter.headers["original-destination"] for letter in letters}
        assert origins == {f"{queue}.a", f"{queue}.b"}
        client.send("UNSUBSCRIBE", id="s")
    subscribe(client, "/queue/ActiveMQ.DLQ", ack="client", selector=f"mark = '{queue}'")
    for letter in take(client, 2):
        accepted(ack(client, letter))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    subscribe(client, "/queue/ActiveMQ.DLQ", selector=f"mark = '{queue}'")
    assert is_served(client)


def test_each_queue_has_its_own_limits(start_broker: StartBroker, connect: Connect) -> None:
    """One that is full refuses the whole list; priorities and lifetimes are each queue's own affair."""
    broker = start_broker(
        "memory:",
        **{
            'destination."full".max_messages': 1,
            'destination."full".at_limit': "error",
            'destination."flat".priorities': False,
            'destination."short".ttl_default': 60_000,
        },
    )
    client = connect(to=broker)
    put(client, "/queue/full,/queue/other", b"1")
    expect_error(client.ask("SEND", b"2", destination="/queue/other,/queue/full"), "full is full")
    assert drain(client, "/queue/other") == [b"1"]
    for priority in ("1", "9"):
        put(client, "/queue/flat,/queue/steep,/queue/short", priority.encode(), priority=priority)
    for name, order in (("flat", [b"1", b"9"]), ("steep", [b"9", b"1"]), ("short", [b"9", b"1"])):
        subscribe(client, f"/queue/{name}", id=name)
        messages = take(client, 2)
        assert bodies(messages) == order
        for message in messages:
            assert ("expires" in message.headers) == (name == "short")


# --- SUBSCRIBE to a list ------------------------------------------------------------------------------


def test_one_subscription_takes_from_all(
    connect: Connect, version: str, queue: str, topic: str
) -> None:
    client, name = connect(version), queue.removeprefix("/queue/")
    subscribe(client, f"{queue}.a, {topic} ,{name}.b", ack="client-individual")
    for destination in (f"{queue}.a", f"{queue}.b", topic):
        client.send("SEND", b"x", destination=destination)
        accepted(ack(client, client.expect("MESSAGE", destination=destination)))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    for destination in (f"{queue}.a", f"{queue}.b", topic):
        put(client, destination, b"x")
    assert is_served(client)


def test_1_0_unsubscribes_by_the_list(connect: Connect, queue: str) -> None:
    client = connect("1.0")
    accepted(client.ask("SUBSCRIBE", destination=f"{queue}.a,{queue}.b"))
    accepted(client.ask("UNSUBSCRIBE", destination=f"{queue}.a,{queue}.b"))
    put(client, f"{queue}.a", b"x")
    assert is_served(client)


def test_several_topics(connect: Connect, topic: str) -> None:
    """What one client sends to several topics comes once for each."""
    client = connect()
    subscribe(client, f"{topic}.a,{topic}.b,{topic}.a")
    client.send("SEND", b"x", destination=f"{topic}.a,{topic}.b")
    assert [m.headers["destination"] for m in take(client, 2)] == [f"{topic}.a", f"{topic}.b"]
    assert is_served(client)


def test_one_bad_name_spoils_the_subscription(connect: Connect, queue: str, topic: str) -> None:
    """Nothing is subscribed to."""
    client = connect()
    for bad in ("/queue/", "/topic/" + "x" * 256, "/remote-temp-queue/none"):
        answer = client.ask("SUBSCRIBE", destination=f"{queue},{topic},{bad}", id="s")
        assert answer.command == "ERROR"
    put(client, f"{queue},{topic}", b"x")
    assert drain(client, queue) == [b"x"]


# --- composed by an operator --------------------------------------------------------------------------

COMPOSITES: dict[str, object] = {
    'composite."/queue/orders".forward_to': ["/queue/billing", "/topic/news"],
    'composite."/topic/alarms".forward_to': ["/queue/alarms", "/queue/night"],
    'composite."/topic/alarms".forward_only': False,
    'composite."/topic/alarms".filters."/queue/night"': "hour > 21 AND JMSPriority >= 4",
    'composite."/queue/chain".forward_to': ["/queue/orders", "/queue/end"],
}


@pytest.fixture
def composed(start_broker: StartBroker) -> BrokerProcess:
    return start_broker("memory:", **COMPOSITES)


def test_a_composite_forwards(composed: BrokerProcess, connect: Connect, version: str) -> None:
    """What is sent there goes to all of them, and says where it was sent; nothing stays."""
    client = connect(version, to=composed)
    subscribe(client, "/topic/news", id="n")
    client.send("SEND", b"x", destination="/queue/orders", mark="1")
    client.expect(
        "MESSAGE", destination="/topic/news", original_destination="/queue/orders", mark="1"
    )
    subscribe(client, "/queue/billing", id="b")
    client.expect("MESSAGE", destination="/queue/billing", original_destination="/queue/orders")
    subscribe(client, "/queue/orders", id="o")
    assert is_served(client)


def test_a_composite_that_keeps_one_too(composed: BrokerProcess, connect: Connect) -> None:
    """Its own subscribers are not told of forwarding; a filter chooses what goes further."""
    client = connect(to=composed)
    subscribe(client, "/topic/alarms", id="t")
    for hour, priority in (("20", "4"), ("22", "4"), ("23", "3")):
        put_and_see(client, hour, priority)
    assert drain(client, "/queue/alarms") == [b"20", b"22", b"23"]
    assert drain(client, "/queue/night") == [b"22"]


def put_and_see(client: Client, hour: str, priority: str) -> None:
    """Send an alarm, and get it as a subscriber."""
    client.send(
        "SEND",
        hour.encode(),
        destination="/topic/alarms",
        hour=hour,
        priority=priority,
        receipt=hour,
    )
    message = client.expect("MESSAGE", destination="/topic/alarms")
    assert "original-destination" not in message.headers
    client.expect("RECEIPT")


def test_a_composite_of_composites(composed: BrokerProcess, connect: Connect) -> None:
    """Each message says where it was sent last."""
    client = connect(to=composed)
    put(client, "/queue/chain", b"x")
    for name, origin in (("billing", "/queue/orders"), ("end", "/queue/chain")):
        subscribe(client, f"/queue/{name}", id=name)
        client.expect("MESSAGE", destination=f"/queue/{name}", original_destination=origin)


def test_a_composite_in_a_list_a_transaction_and_without_a_prefix(
    composed: BrokerProcess, connect: Connect
) -> None:
    client = connect(to=composed)
    put(client, "orders,/queue/end", b"1")
    client.send("BEGIN", transaction="t")
    client.send("SEND", b"2", destination="/queue/orders", transaction="t")
    accepted(client.ask("COMMIT", transaction="t"))
    assert drain(client, "/queue/billing") == [b"1", b"2"]
    assert drain(client, "/queue/end") == [b"1"]


@pytest.mark.parametrize(
    ("composites", "complaint"),
    [
        (
            {"/queue/a": ["/queue/b"], "/queue/b": ["/topic/c"], "/topic/c": ["/queue/a"]},
            "composites forward in a ring",
        ),
        ({"/queue/a": ["/queue/a"]}, "composites forward in a ring"),
        ({"/queue/a": ["/queue/b.*"]}, "a destination reads"),
    ],
)
def test_composites_that_make_no_sense_are_refused_at_the_start(
    tmp_path: Path, composites: dict[str, list[str]], complaint: str
) -> None:
    config = tmp_path / "hoofbeat.toml"
    config.write_text(
        "".join(f'[composite."{name}"]\nforward_to = {to}\n' for name, to in composites.items())
    )
    command = [sys.executable, "-m", "broker", "run", "--store", "memory:", "--port", "0"]
    ended = subprocess.run(
        [*command, "--config", str(config)], capture_output=True, text=True, timeout=DEADLINE
    )
    assert ended.returncode != 0
    assert re.search(complaint, ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr
