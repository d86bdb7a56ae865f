"""Whatever a message may be and ask for, it is the same at the peer."""

from __future__ import annotations

import os
import time
from itertools import count

import pytest

from broker.stomp import Frame
from tests.harness import Client
from tests.peers.nodes import Node, numbered, status
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

AB = tuple[Node, Node]
ALL = "arrived,processed,failed,expired"
MB = 1_000_000

_numbers = count(1)


@pytest.fixture
def name() -> str:
    """Return the name of a queue that nobody else uses, and which B takes."""
    return f"q.{next(_numbers)}"


def take_one(node: Node, destination: str) -> Frame:
    """Take the next message of a queue."""
    client = node.connect()
    subscribe(client, destination)
    return take(client, 1)[0]


def dead_letter(node: Node, body: bytes) -> Frame:
    """Take a dead letter; it must be the only one."""
    letter = take_one(node, "/queue/ActiveMQ.DLQ")
    assert letter.body == body
    return letter


def expect_reports(client: Client, *wanted: str) -> list[Frame]:
    """Take the reports that come next, in any order of those of one step."""
    reports = take(client, len(wanted))
    assert [report.headers["report"] for report in reports] == [*wanted]
    return reports


# --- what messages are ------------------------------------------------------------------------------


def test_headers_that_need_escapes(ab: AB, name: str) -> None:
    """Colons, backslashes, line ends and letters of all kinds, in names and values, both ways."""
    strange = "ü: \\ ☃\n\r\\n :"
    queue = f"{name} {strange}"
    for here, there in (ab, ab[::-1]):
        headers = {strange: strange, "reply-to": f"/queue/{strange}", "plain": "x"}
        named = {"destination": f"/peer/{there.name}/queue/{queue}", "receipt": "r", **headers}
        client = here.connect()
        client.write(Frame("SEND", named, b"x").encode("1.2"))
        client.expect("RECEIPT")
        message = take_one(there, f"/queue/{queue}")
        assert message.headers[strange] == strange
        assert message.headers["reply-to"] == f"/peer/{here.name}/queue/{strange}"
        assert message.headers["plain"] == "x"
        assert message.headers["destination"] == f"/queue/{queue}"
        assert message.headers["peer-via"] == here.name


def test_an_older_client_reads_what_came(ab: AB, name: str) -> None:
    a, b = ab
    put(a.connect(), f"/peer/B/queue/{name}", b"x", **{"a:b": "c:d"})
    with b.broker.connect("1.0") as client:
        client.send("SUBSCRIBE", destination=f"/queue/{name}", id="1")
        assert b"c:d" in client.expect("MESSAGE").encode("1.0")


def test_large_bodies(ab: AB, name: str) -> None:
    """With every octet there is, both ways, at once."""
    body = os.urandom(MB) * 20
    clients = []
    for here, there in (ab, ab[::-1]):
        client = here.connect()
        client.send("SEND", body, destination=f"/peer/{there.name}/queue/{name}", receipt="r")
        clients.append(client)
    for client in clients:
        client.expect("RECEIPT")
    for node in ab:
        assert take_one(node, f"/queue/{name}").body == body


def test_too_large_for_the_peer(ab: AB, name: str) -> None:
    """It is a dead letter here, with the cause, and the next ones go on."""
    a, b = ab
    client = a.connect()
    body = bytes(22 * MB)
    put(client, f"/peer/B/queue/{name}", body, b"next", report=ALL, reply_to=f"/queue/{name}")
    assert take_one(b, f"/queue/{name}").body == b"next"
    letter = dead_letter(a, body)
    assert letter.headers["original-destination"] == f"/peer/B/queue/{name}"
    cause = "refused by B: larger than B takes: 21000000 bytes at most"
    assert letter.headers["dlqDeliveryFailureCause"] == cause
    subscribe(client, f"/queue/{name}")
    reports = take(client, 3)
    [failed] = [each for each in reports if each.headers["report"] == "failed"]
    assert failed.headers["report-cause"] == cause


def test_priorities(ab: AB, name: str) -> None:
    """What is urgent goes first, and first in, first out otherwise."""
    a, b = ab
    a.call("pause_peer", "B")
    client = a.connect()
    for number, priority in enumerate("4904190"):
        put(client, f"/peer/B/queue/{name}", b"%d" % number, priority=priority)
    assert drain(b.connect(), f"/queue/{name}") == []
    a.call("resume_peer", "B")
    a.await_forwarded(b)
    assert drain_all(b, name) == [b"1", b"5", b"0", b"3", b"4", b"2", b"6"]


def drain_all(node: Node, name: str) -> list[bytes]:
    """Take what is in a queue, whatever its priority."""
    client = node.connect()
    subscribe(client, f"/queue/{name}")
    return bodies(take(client, 7))


def test_expired_on_the_way(ab: AB, name: str) -> None:
    """A message that waits here for too long expires here, and its sender hears of it."""
    a, b = ab
    a.call("pause_peer", "B")
    client = a.connect()
    subscribe(client, f"/queue/{name}")
    put(client, f"/peer/B/queue/{name}", b"late", ttl="100", report=ALL, reply_to=f"/queue/{name}")
    expect_reports(client, "expired")
    a.call("resume_peer", "B")
    assert dead_letter(a, b"late").headers["original-destination"] == f"/peer/B/queue/{name}"
    assert a.await_forwarded(b)["waiting"] == 0
    assert drain(b.connect(), f"/queue/{name}") == []


def test_expired_there(ab: AB, name: str) -> None:
    a, b = ab
    client = a.connect()
    subscribe(client, f"/queue/{name}")
    put(client, f"/peer/B/queue/{name}", b"late", ttl="300", report=ALL, reply_to=f"/queue/{name}")
    expect_reports(client, "arrived")
    holder = b.connect()
    wait_until = time.time() + 0.4
    while time.time() < wait_until:
        assert is_served(holder)
    assert drain(holder, f"/queue/{name}") == []
    expect_reports(client, "expired")
    assert dead_letter(b, b"late").headers["original-destination"] == f"/queue/{name}"


def test_not_persistent(ab: AB, name: str) -> None:
    a, b = ab
    put(a.connect(), f"/peer/B/queue/{name}", *numbered(1, 100), persistent="false")
    a.await_forwarded(b)
    messages = drain(b.connect(), f"/queue/{name}")
    assert messages == numbered(1, 100)


def test_transactions(ab: AB, name: str) -> None:
    """All of it goes at COMMIT, nothing of what was aborted."""
    a, b = ab
    client = a.connect()
    for end in ("ABORT", "COMMIT"):
        accepted(client.ask("BEGIN", transaction="t"))
        for body in numbered(1, 3):
            client.send("SEND", body, destination=f"/peer/B/queue/{name}", transaction="t")
        assert is_served(client)
        assert a.peer(b)["waiting"] == 0
        assert drain(b.connect(), f"/queue/{name}") == []
        accepted(client.ask(end, transaction="t"))
    a.await_forwarded(b)
    assert drain(b.connect(), f"/queue/{name}") == numbered(1, 3)


def test_groups(ab: AB, name: str) -> None:
    """The peer's consumers share groups; here nobody chooses."""
    a, b = ab
    consumers = [b.connect(), b.connect()]
    for consumer in consumers:
        subscribe(consumer, f"/queue/{name}")
    client = a.connect()
    for number in range(20):
        put(client, f"/peer/B/queue/{name}", b"%d" % number, JMSXGroupID=f"g{number % 2}")
    even, odd = (bodies(take(consumer, 10)) for consumer in consumers)
    assert sorted([even, odd]) == sorted(
        [[b"%d" % number for number in range(start, 20, 2)] for start in (0, 1)]
    )


def test_scheduled(ab: AB, name: str) -> None:
    """It waits here, and goes when it is due."""
    a, b = ab
    consumer = b.connect()
    subscribe(consumer, f"/queue/{name}")
    client = a.connect()
    later = {"destination": f"/peer/B/queue/{name}", "AMQ_SCHEDULED_DELAY": "300"}
    client.write(Frame("SEND", later, b"later").encode("1.2"))
    put(client, f"/peer/B/queue/{name}", b"now")
    assert bodies(take(consumer, 2)) == [b"now", b"later"]


def test_topics(ab: AB, name: str) -> None:
    a, b = ab
    consumers = [b.connect(), b.connect()]
    for consumer in consumers:
        subscribe(consumer, f"/topic/{name}")
    put(a.connect(), f"/peer/B/topic/{name}", b"news")
    for consumer in consumers:
        assert bodies(take(consumer, 1)) == [b"news"]


def test_it_comes_once_though_it_is_sent_twice(ab: AB, name: str) -> None:
    """A dedup-id holds here."""
    a, b = ab
    put(a.connect(), f"/peer/B/queue/{name}", b"1", b"2", dedup_id="same")
    a.await_forwarded(b)
    assert drain(b.connect(), f"/queue/{name}") == [b"1"]


# --- answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply_to", ["/queue/q.answers", "/temp-queue/answers"])
def test_a_reply_finds_its_way(reply_to: str, ab: AB, name: str) -> None:
    """Who answers names what the request says; a temporary queue is as good as any."""
    a, b = ab
    asker, worker = a.connect(), b.connect()
    subscribe(asker, reply_to)
    subscribe(worker, f"/queue/rpc.{name}")
    put(asker, f"/peer/B/queue/rpc.{name}", b"question", reply_to=reply_to, correlation_id="c")
    [request] = take(worker, 1)
    there = request.headers["reply-to"]
    assert there.startswith("/peer/A/")
    if reply_to.startswith("/temp-queue/"):
        expect_error(worker.ask("SEND", destination=there), "Nothing may be sent to")
    else:
        put(worker, there, b"answer", correlation_id=request.headers["correlation-id"])
        [answer] = take(asker, 1)
        assert (answer.body, answer.headers["correlation-id"]) == (b"answer", "c")


def test_reports_come_home(ab: AB, name: str) -> None:
    """Arrived, and then processed or failed, with who and why."""
    a, b = ab
    sender, worker = a.connect(), b.connect(client_id="worker")
    subscribe(sender, f"/queue/{name}")
    subscribe(worker, f"/queue/{name}", ack="client-individual")
    for end, kind in ((ack, "processed"), (nack, "failed")):
        put(
            sender,
            f"/peer/B/queue/{name}",
            b"job",
            report=ALL,
            reply_to=f"/queue/{name}",
            correlation_id=kind,
        )
        [job] = take(worker, 1)
        accepted(end(worker, job))
        arrived, ended = take(sender, 2)
        assert [status(arrived), status(ended)] == [(kind, "arrived"), (kind, kind)]
        assert ended.headers["report-by"] == "worker"
        assert ended.headers["original-destination"] == f"/peer/B/queue/{name}"
        assert not {"report-id", "report-to", "peer-via", "peer-to"} & ended.headers.keys()
    assert ended.headers["report-cause"] == "refused by a consumer (NACK)"
    dead_letter(b, b"job")


def test_reports_of_what_is_not_stored(ab: AB, name: str) -> None:
    """They come home too, whatever else goes there at the same time."""
    a, b = ab
    sender, worker = a.connect(), b.connect()
    subscribe(sender, f"/queue/{name}")
    subscribe(worker, f"/queue/{name}", ack="client-individual")
    told = {"report": "processed", "reply_to": f"/queue/{name}", "persistent": "false"}
    for number in range(100):
        sender.send("SEND", destination=f"/peer/B/queue/{name}", correlation_id=f"{number}", **told)
    for _ in range(100):
        [job] = take(worker, 1)
        worker.send("ACK", id=job.headers["ack"])
        worker.send("SEND", destination=f"/peer/A/queue/{name}.noise")
    reports = [status(each) for each in take(sender, 100)]
    assert sorted(reports) == sorted((f"{number}", "processed") for number in range(100))


# --- refused here -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("/peer/C/queue/x", "There is no peer C"),
        ("/peer/B/queue/*", "Illegal destination name"),
        ("/peer/B/queue/a.>", "Illegal destination name"),
        ("/peer/B/queue/", "Invalid empty"),
        ("/peer/B", "Illegal destination name"),
        ("/peer/B/temp-queue/x", "Illegal destination name"),
        ("/peer/B/queue/rpc.broker", "Nothing may be sent to /peer/B/queue/rpc.broker"),
        ("/peer/B/queue/hoofbeat.reports", "is where brokers report to each other"),
    ],
)
def test_cannot_be_sent(destination: str, why: str, ab: AB) -> None:
    client = ab[0].connect()
    expect_error(client.ask("SEND", destination=destination), why)
    assert is_served(client)


def test_may_not_be_sent(ab: AB) -> None:
    """What the operator does not list under `send`."""
    client = ab[1].connect()
    expect_error(client.ask("SEND", destination="/peer/A/queue/secret"), "Nothing may be sent to")
    assert is_served(client)


def test_nobody_consumes_what_waits_for_a_peer(ab: AB) -> None:
    client = ab[0].connect()
    for destination in ("/peer/B", "/peer/B/queue/x", "/peer/>"):
        answer = client.ask("SUBSCRIBE", destination=destination, id="s")
        assert answer.command == "ERROR", destination
    assert is_served(client)


def test_a_client_cannot_forge_what_brokers_write(ab: AB, name: str) -> None:
    """Headers of links pass for nothing."""
    a, b = ab
    forged = {
        "peer-to": "/queue/other",
        "peer-via": "B",
        "report-to": f"/queue/{name}.forged",
        "report-id": "1",
        "report": "processed",
        "JMSXUserID": "root",
    }
    client = a.connect()
    for destination in (f"/queue/{name}", f"/peer/B/queue/{name}"):
        named = {"destination": destination, "receipt": "r", **forged}
        client.write(Frame("SEND", named, b"x").encode("1.2"))
        client.expect("RECEIPT")
    here, there = take_one(a, f"/queue/{name}"), take_one(b, f"/queue/{name}")
    assert not forged.keys() - {"report"} & here.headers.keys()
    assert there.headers["peer-via"] == "A"
    assert not {"peer-to", "JMSXUserID"} & there.headers.keys()
    assert drain(client, f"/queue/{name}.forged") == []


# --- refused there ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("/peer/B/queue/secret", "A may not send to /queue/secret"),
        ("/peer/B/peer/C/queue/x", "There is no peer C"),
        ("/peer/B/remote-temp-queue/none", "A may not send to /remote-temp-queue/none"),
    ],
)
def test_refused_by_the_peer(destination: str, why: str, ab: AB, name: str) -> None:
    """It is a dead letter here, the sender hears that it failed and why, and the next ones go on."""
    a, b = ab
    client = a.connect()
    put(client, destination, b"no", report="failed", reply_to=f"/queue/{name}")
    put(client, f"/peer/B/queue/{name}", b"next")
    subscribe(client, f"/queue/{name}")
    [report] = expect_reports(client, "failed")
    assert report.headers["report-cause"] == f"refused by B: {why}"
    letter = dead_letter(a, b"no")
    assert letter.headers["dlqDeliveryFailureCause"] == f"refused by B: {why}"
    assert letter.headers["original-destination"] == destination
    assert take_one(b, f"/queue/{name}").body == b"next"


def test_in_a_ring(ab: AB, name: str) -> None:
    """It comes back to where it was sent, which refuses it; the sender hears of that too."""
    a, b = ab
    client = a.connect()
    subscribe(client, f"/queue/{name}")
    put(client, f"/peer/B/peer/A/queue/{name}", b"o", report=ALL, reply_to=f"/queue/{name}")
    [report] = expect_reports(client, "failed")
    assert report.headers["report-cause"] == "refused by A: It goes in a ring: A, B, A"
    assert dead_letter(b, b"o").headers["peer-via"] == "A"


def test_composites_that_forward_in_a_ring(ab: AB) -> None:
    """A to B to A: it ends where it has been before."""
    a, b = ab
    put(a.connect(), "/queue/ring", b"o")
    letter = dead_letter(b, b"o")
    assert letter.headers["dlqDeliveryFailureCause"] == "refused by A: It goes in a ring: A, B, A"
    assert letter.headers["original-destination"] == "/peer/A/queue/ring"


@pytest.mark.parametrize("limit", ["q.block", "q.error"])
def test_the_queue_there_is_full(limit: str, ab: AB) -> None:
    """Nothing is lost and the order is kept; it goes on when there is room. What we get from there goes on too."""
    a, b = ab
    put(a.connect(), f"/peer/B/queue/{limit}", *numbered(1, 50))
    put(b.connect(), "/peer/A/queue/q.back", b"back")
    assert take_one(a, "/queue/q.back").body == b"back"
    client = b.connect()
    subscribe(client, f"/queue/{limit}", ack="client-individual")
    got = []
    for _ in range(50):
        [message] = take(client, 1)
        got.append(message.body)
        client.send("ACK", id=message.headers["ack"])
    assert got == numbered(1, 50)
    a.await_forwarded(b)


def test_no_secret_is_told(ab: AB) -> None:
    """Neither logs nor the broker's methods show a passcode."""
    for node in ab:
        assert "secret" not in node.log()
        assert "secret" not in str(node.call("peers"))
