"""Selectors: who asks for some messages gets all of these, and the others are left for others."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    bodies,
    drain,
    expect_error,
    is_served,
    put,
    subscribe,
    take,
)

ONE_AT_A_TIME = {"ack": "client-individual", "activemq.prefetchSize": "1"}


def pour(client: Client, queue: str, kinds: list[str], **headers: str) -> None:
    """Send a message of each kind, numbered, without waiting for each; all are there when it returns."""
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    client.write(
        b"".join(
            f"SEND\ndestination:{queue}\nkind:{kind}\n{lines}\n{number}\0".encode()
            for number, kind in enumerate(kinds)
        )
    )
    assert is_served(client)


# --- what can be asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("price > 10.0", b"cheap dear"),
        ("price >= 99.5 AND price <= 1E2", b"dear"),
        ("price BETWEEN 10 AND 20", b"cheap"),
        ("price * 2 = 24", b"cheap"),
        ("urgent = TRUE", b"dear"),
        ("urgent", b"dear"),
        ("NOT urgent", b"cheap"),
        ("urgent IS NULL", b"none"),
        ("name = 'A chair'", b"cheap"),
        ("name <> 'A chair'", b"dear"),
        ("name LIKE 'A%'", b"cheap dear"),
        ("name LIKE '_ t_ble%'", b"dear"),
        ("name LIKE '%100!%%' ESCAPE '!'", b"dear"),
        ("name IN ('A chair', 'A bed')", b"cheap"),
        ("name NOT IN ('A chair', 'A bed')", b"dear"),
        ("\"content-type\" = 'text/plain'", b"none"),
        ("`content-type` LIKE 'text/%'", b"none"),
        ("price > 10.0 OR urgent IS NULL", b"cheap dear none"),
        ("(price > 10 AND name LIKE '%chair') OR urgent", b"cheap dear"),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.2"], indirect=True)
def test_what_a_selector_can_ask(
    connect: Connect, version: str, queue: str, selector: str, expected: bytes
) -> None:
    """Headers are texts, and read as what they are compared with."""
    sender = connect(version)
    put(sender, queue, b"cheap", price="12", urgent="false", name="A chair")
    put(sender, queue, b"dear", price="99.5", urgent="true", name="A table, 100% oak")
    put(sender, queue, b"none", content_type="text/plain")
    client = connect(version)
    subscribe(client, queue, selector=selector)
    wanted = expected.split()
    assert bodies(take(client, len(wanted))) == wanted
    assert is_served(client)


def test_the_names_of_jms(connect: Connect, version: str, queue: str) -> None:
    """What JMS calls by names of its own is found under them, in STOMP's headers or in the broker."""
    sender, client = connect(version), connect(version)
    name = queue.removeprefix("/queue/")
    selectors = {
        "priority": "JMSPriority > 6",
        "kind": "JMSType = 'order' AND JMSCorrelationID = 'c-1'",
        "reply": "JMSReplyTo = 'queue://answers'",
        "volatile": "JMSDeliveryMode = 'NON_PERSISTENT'",
        "dated": "JMSTimestamp < 5000",
        "mortal": "JMSExpiration > 5000",
        "group": "JMSXGroupID = 'g'",
        "here": f"JMSDestination = 'queue://{name}' AND here",
    }
    for id, selector in selectors.items():
        subscribe(client, queue, id=id, selector=selector)
    headers = {
        "priority": {"priority": "7"},
        "kind": {"type": "order", "correlation-id": "c-1"},
        "reply": {"reply-to": "/queue/answers"},
        "volatile": {"persistent": "false"},
        "dated": {"timestamp": "4000"},
        "mortal": {"expires": "4000000000000"},
        "group": {"JMSXGroupID": "g"},
        "here": {"here": "true"},
    }
    for id, sent in headers.items():
        put(sender, queue, id.encode(), **sent)
    found = take(client, len(headers))
    assert [frame.headers["subscription"] for frame in found] == list(headers)
    assert bodies(found) == [id.encode() for id in headers]


@pytest.mark.parametrize(
    ("written", "sent_to", "named"),
    [
        ("/temp-queue/mine", "/temp-queue/mine", "temp-queue://hoof-%"),
        ("/temp-topic/mine", "/temp-topic/mine", "temp-topic://hoof-%"),
        ("here.bare", "/queue/here.bare", "queue://here.bare"),
        ("/queue/here.more?consumer.prefetchSize=1", "here.more", "queue://here.more"),
        ("/topic/here.twice,/topic/here.twice", "/topic/here.twice", "topic://here.twice"),
    ],
)
def test_where_a_message_is(connect: Connect, written: str, sent_to: str, named: str) -> None:
    """`JMSDestination` names the destination, however SUBSCRIBE wrote it."""
    client = connect()
    subscribe(client, written, id="no", selector=f"NOT (JMSDestination LIKE '{named}')")
    subscribe(client, written, id="yes", selector=f"JMSDestination LIKE '{named}'")
    client.send("SEND", destination=sent_to)
    client.expect("MESSAGE", subscription="yes")
    assert is_served(client)


def test_where_a_message_of_a_durable_subscription_is(connect: Connect, topic: str) -> None:
    """The same for one to a wildcard, whose messages are of several topics."""
    client, sender = connect(client_id=f"where {topic}"), connect()
    name = topic.removeprefix("/topic/")
    durable = {"activemq.subscriptionName": "n"}
    selector = f"JMSDestination = 'topic://{name}.b'"
    subscribe(client, f"{topic}.*", selector=selector, **durable)
    put(sender, f"{topic}.a", b"a")
    put(sender, f"{topic}.b", b"live")
    assert bodies(take(client, 1)) == [b"live"]
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    put(sender, f"{topic}.a", b"a")
    put(sender, f"{topic}.b", b"stored")
    subscribe(client, f"{topic}.*", selector=selector, **durable)
    assert bodies(take(client, 1)) == [b"stored"]
    assert is_served(client)


def test_who_has_had_a_message_before(connect: Connect, version: str, queue: str) -> None:
    """A consumer may ask for fresh messages only, and another for those that somebody failed on."""
    fresh, failed = connect(version), connect(version)
    subscribe(fresh, queue, ack="client-individual", selector="JMSRedelivered = FALSE")
    subscribe(failed, queue, selector="JMSRedelivered = TRUE")
    put(connect(version), queue, b"1")
    fresh.expect("MESSAGE")
    fresh.close()
    [message] = take(failed, 1)
    assert message.headers["redelivered"] == "true"


def test_a_text_with_a_colon_and_a_line_break(
    connect: Connect, later_version: str, queue: str
) -> None:
    """The header is compared as the sender meant it, not as it is escaped."""
    client = connect(later_version)
    subscribe(client, queue, selector="path = 'C:\\temp' OR note = 'a\nb' OR \"x:y\" = '1'")
    sender = connect(later_version)
    put(sender, queue, b"other", path="C\\temp", note="ab")
    put(sender, queue, b"path", path="C:\\temp")
    put(sender, queue, b"note", note="a\nb")
    sender.send("SEND", b"name", destination=queue, **{"x:y": "1"})
    assert bodies(take(client, 3)) == [b"path", b"note", b"name"]


def test_what_stands_in_the_body_is_not_a_header(
    connect: Connect, version: str, queue: str
) -> None:
    """A body that looks like headers selects nothing."""
    client = connect(version)
    subscribe(client, queue, selector="kind = 'rare'")
    sender = connect(version)
    put(sender, queue, b"\nkind:rare\n\nkind:rare\n", kind="common")
    put(sender, queue, b"this one", kind="rare")
    assert bodies(take(client, 1)) == [b"this one"]


@pytest.mark.parametrize(
    "selector",
    [
        "a =",
        "a = 'x",
        "a > 'x'",
        "a LIKE 5",
        "(a = 1",
        "5",
        "a IN ()",
        "a.b = 1",
        "a = 1; DROP TABLE x",
        "XPATH '//a'",
        "NOT " * 50 + "a",
        "a = 1 OR " * 200 + "a = 1",
    ],
)
def test_a_selector_that_is_none(connect: Connect, version: str, queue: str, selector: str) -> None:
    """ERROR says what is wrong with it, nothing is subscribed, and the connection goes on."""
    client = connect(version)
    answer = client.ask("SUBSCRIBE", destination=queue, id_="s", selector=selector)
    expect_error(answer, "Invalid selector")
    subscribe(client, queue, id="s")
    put(connect(version), queue, b"1")
    assert bodies(take(client, 1)) == [b"1"]
    assert is_served(client)


def test_a_selector_of_blanks_is_none(connect: Connect, version: str, queue: str) -> None:
    """Some clients send an empty header."""
    client = connect(version, client_id=f"blanks {queue}")
    subscribe(client, queue, selector=" ")
    put(connect(version), queue, b"1")
    assert bodies(take(client, 1)) == [b"1"]
    durable = {"activemq.subscriptionName": "n"}
    subscribe(client, "/topic/blanks", id="durable", selector=" ", **durable)
    put(connect(version), "/topic/blanks", b"2")
    assert bodies(take(client, 1)) == [b"2"]


# --- who gets what ----------------------------------------------------------------------------------


def test_what_one_does_not_want_another_gets(connect: Connect, version: str, queue: str) -> None:
    """And what nobody wants waits for somebody who does."""
    red, blue = connect(version), connect(version)
    subscribe(red, queue, selector="colour = 'red'")
    subscribe(blue, queue, selector="colour = 'blue'")
    sender = connect(version)
    for colour in ("blue", "green", "red", "blue"):
        put(sender, queue, colour.encode(), colour=colour)
    assert bodies(take(red, 1)) == [b"red"]
    assert bodies(take(blue, 2)) == [b"blue", b"blue"]
    assert drain(connect(version), queue) == [b"green"]


def test_a_topic(connect: Connect, version: str, topic: str) -> None:
    """Everybody gets their part of what is sent; what nobody wants is gone."""
    red, all_ = connect(version), connect(version)
    subscribe(red, topic, selector="colour = 'red'")
    subscribe(all_, topic)
    sender = connect(version)
    for colour in ("blue", "red", "green", "red"):
        put(sender, topic, colour.encode(), colour=colour)
    assert bodies(take(red, 2)) == [b"red", b"red"]
    assert bodies(take(all_, 4)) == [b"blue", b"red", b"green", b"red"]
    assert is_served(red)


def test_two_subscriptions_of_one_client(connect: Connect, version: str, queue: str) -> None:
    """Each message says whose it is."""
    client = connect(version)
    subscribe(client, queue, id="small", selector="size <= 10")
    subscribe(client, queue, id="large", selector="size > 10")
    for size in ("5", "50", "10"):
        put(connect(version), queue, size.encode(), size=size)
    assert [frame.headers["subscription"] for frame in take(client, 3)] == [
        "small",
        "large",
        "small",
    ]


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_every_match_of_a_deep_backlog(
    connect: Connect, version: str, queue: str, persistent: str
) -> None:
    """However many others lie between, in order, from the first to the last."""
    kinds = ["rare" if number % 500 == 499 else "common" for number in range(5000)]
    pour(connect(version), queue, kinds, persistent=persistent)
    client = connect(version)
    subscribe(client, queue, selector="kind = 'rare'")
    expected = [b"%d" % number for number in range(499, 5000, 500)]
    assert bodies(take(client, 10)) == expected
    assert is_served(client)


def test_one_at_a_time_from_a_deep_backlog(connect: Connect, version: str, queue: str) -> None:
    """The next match comes with the acknowledgement of the last."""
    pour(connect(version), queue, ["common"] * 1500 + ["rare", "common"] * 20)
    client = connect(version)
    subscribe(client, queue, selector="kind = 'rare'", **ONE_AT_A_TIME)
    for number in range(1500, 1540, 2):
        [message] = take(client, 1)
        assert message.body == b"%d" % number
        assert is_served(client)
        client.send("ACK", **acknowledgement(client, message))
    assert is_served(client)


def test_new_matches_come_past_a_backlog(connect: Connect, version: str, queue: str) -> None:
    """At once; and they are not found a second time when somebody reads the backlog."""
    sender, picky = connect(version), connect(version)
    pour(sender, queue, ["common"] * 1500)
    subscribe(picky, queue, selector="kind = 'rare'", ack="client-individual")
    for _ in range(3):
        put(sender, queue, b"rare", kind="rare")
    first, second, _ = take(picky, 3)
    accepted(ack(picky, second))
    assert drain(connect(version), queue) == [b"%d" % number for number in range(1500)]
    accepted(ack(picky, first))
    picky.close()
    assert drain(connect(version), queue) == [b"rare"]


def test_others_are_not_kept_waiting_by_a_search(
    connect: Connect, version: str, queue: str
) -> None:
    """Somebody looks for what is not there: an ordinary consumer of the same queue gets it all."""
    pour(connect(version), queue, ["common"] * 5000)
    picky, plain = connect(version), connect(version)
    picky.send("SUBSCRIBE", destination=queue, id_="s", selector="kind = 'rare'")
    subscribe(plain, queue)
    assert bodies(take(plain, 5000)) == [b"%d" % number for number in range(5000)]
    assert is_served(picky)


def test_with_an_ordinary_consumer_the_matches_are_shared(
    connect: Connect, version: str, queue: str
) -> None:
    """It gets what the other does not want, and some of what both want."""
    picky, plain = connect(version), connect(version)
    subscribe(picky, queue, selector="kind = 'rare'")
    subscribe(plain, queue)
    pour(connect(version), queue, ["rare", "rare", "common"] * 20)
    got: list[list[bytes]] = []
    for client in (picky, plain):
        end = f"{queue}.end.{len(got)}"
        client.send("SUBSCRIBE", destination=end, id_="end")
        put(connect(version), end, b"end")
        found = []
        while (body := client.expect("MESSAGE").body) != b"end":
            found.append(body)
        got.append(found)
    assert sorted(map(int, got[0] + got[1])) == [*range(60)]
    for found in got:
        assert found == sorted(found, key=int)
        assert len(found) >= 20


def test_what_one_refuses_goes_to_another_who_wants_it(
    connect: Connect, later_version: str, queue: str
) -> None:
    """A message that comes back does not go to somebody who never wanted it."""
    first, other, second = (connect(later_version) for _ in range(3))
    subscribe(first, queue, ack="client-individual", selector="kind = 'a'")
    subscribe(other, queue, ack="client-individual", selector="kind = 'b'")
    put(connect(later_version), queue, b"1", kind="a")
    [message] = take(first, 1)
    subscribe(second, queue, selector="kind IN ('a', 'c')")
    first.send("UNSUBSCRIBE", id_="s")
    [again] = take(second, 1)
    assert again.headers["message-id"] == message.headers["message-id"]
    assert again.headers["redelivered"] == "true"
    assert is_served(other)


def test_a_match_given_back_comes_again(connect: Connect, later_version: str, queue: str) -> None:
    """To the one who wants it, who may be the same."""
    client = connect(later_version)
    subscribe(client, queue, ack="client-individual", selector="kind = 'a'")
    sender = connect(later_version)
    put(sender, queue, b"1", kind="a")
    put(sender, queue, b"2", kind="b")
    [message] = take(client, 1)
    client.send("NACK", **acknowledgement(client, message), requeue="true")
    [again] = take(client, 1)
    assert again.headers["redelivered"] == "true"
    accepted(ack(client, again))
    assert drain(connect(later_version), queue) == [b"2"]


def test_matches_are_acknowledged_in_a_transaction(
    connect: Connect, version: str, queue: str
) -> None:
    """ABORT leaves them with their consumer; when it goes, they are there for others."""
    client = connect(version)
    subscribe(client, queue, ack="client-individual", selector="kind = 'a'")
    pour(connect(version), queue, ["a", "b", "a"])
    one, two = take(client, 2)
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(ack(client, one, transaction="t"))
    accepted(client.ask("COMMIT", transaction="t"))
    accepted(client.ask("BEGIN", transaction="u"))
    accepted(ack(client, two, transaction="u"))
    accepted(client.ask("ABORT", transaction="u"))
    client.close()
    assert drain(connect(version), queue) == [b"1", b"2"]


def test_ordinary_consumers_go_on_when_the_last_one_who_chooses_has_gone(
    connect: Connect, version: str, queue: str
) -> None:
    """What it had passed, and what it held, is theirs; nothing waits in vain."""
    picky, plain = connect(version), connect(version)
    subscribe(picky, queue, ack="client-individual", selector="kind = 'rare'")
    pour(connect(version), queue, ["rare", "common"] * 800)
    take(picky, 800)
    picky.close()
    subscribe(plain, queue)
    assert sorted(int(body) for body in bodies(take(plain, 1600))) == [*range(1600)]
    put(connect(version), queue, b"new")
    assert bodies(take(plain, 1)) == [b"new"]


@pytest.mark.parametrize("version", ["1.0", "1.2"], indirect=True)
def test_matches_survive_a_crash(
    connect: Connect, start_broker: StartBroker, version: str, queue: str
) -> None:
    """A backlog of another life is searched as any other."""
    broker = start_broker()
    client = connect(version, to=broker)
    pour(client, queue, ["common", "rare"] * 1000)
    subscribe(client, queue, ack="client-individual", selector="kind = 'rare'")
    for message in take(client, 1000)[:500]:
        accepted(ack(client, message))
    broker.kill()
    broker = start_broker(broker.store)
    client = connect(version, to=broker)
    subscribe(client, queue, selector="kind = 'rare'")
    assert bodies(take(client, 500)) == [b"%d" % number for number in range(1001, 2000, 2)]
    assert drain(connect(version, to=broker), queue) == [
        b"%d" % number for number in range(0, 2000, 2)
    ]
