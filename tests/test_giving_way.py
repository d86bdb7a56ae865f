"""What takes long gives way to others: whole connections without sockets, and a clock that the tests turn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest

from broker.agenda import Agenda
from broker.connection import Connection
from broker.core.broker import Broker
from broker.core.policy import Policies
from broker.options import Options
from broker.reception import Host
from broker.subscribing import ENOUGH
from tests.outside import outside
from tests.test_connection import Socket, make_turn

STEP = 0.001  # seconds from one look at the clock to the next


class Wire(Socket):
    """Notes what a client is told."""

    def __init__(self) -> None:
        self.told = b""
        self.reads = True
        self.closed = False

    def write(self, data: bytes) -> None:
        self.told += data

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def close(self) -> None:
        self.closed = True


class Visitor:
    """A client."""

    def __init__(self, place: Place) -> None:
        self.wire = Wire()
        self.connection = Connection(place.host, f"session-{next(place.numbers)}", self.wire)
        self.connection.data(b"CONNECT\naccept-version:1.2\n\n\0")

    def say(self, *frames: bytes) -> None:
        """Send frames, all in one packet."""
        self.connection.data(b"".join(frames))

    def bodies(self) -> list[bytes]:
        """Return what messages say that came."""
        return re.findall(rb"\nMESSAGE\n.*?\n\n(.*?)\0", b"\n" + self.wire.told, re.DOTALL)

    def has_receipt(self, name: str) -> bool:
        """Tell whether a RECEIPT has come."""
        return re.search(rb"RECEIPT\nreceipt-id:%b\n" % name.encode(), self.wire.told) is not None


class Place:
    """A broker in which time passes as it is looked at."""

    def __init__(self) -> None:
        self.numbers = count()
        clock = (number * STEP for number in count())
        self.broker = Broker(replace(outside(), elapsed=lambda: next(clock)))
        agenda = Agenda(lambda when: None)
        self.turn = make_turn(self.broker, agenda)
        self.host = Host(self.broker, self.turn, Options(), b"m-", agenda)

    def pass_turn(self) -> None:
        """End the turn, and begin the next."""
        self.turn.end()
        self.turn.begin(0.0, 0.0)

    def settle(self) -> int:
        """Go on until nobody wants another go; return how many turns that took."""
        turns = 1
        self.pass_turn()
        while self.broker.again or self.turn.dirty:
            self.pass_turn()
            turns += 1
            assert turns < 10_000, "somebody asks for ever"
        self.pass_turn()
        return turns


def send(destination: str, body: str, **headers: str) -> bytes:
    """Return a SEND."""
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    return f"SEND\ndestination:{destination}\n{lines}\n{body}\0".encode()


def subscribe(destination: str, id: int, **headers: str) -> bytes:
    """Return a SUBSCRIBE."""
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    return f"SUBSCRIBE\ndestination:{destination}\nid:{id}\n{lines}\n\0".encode()


@pytest.fixture
def place() -> Place:
    return Place()


# --- COMMIT, and a topic with many subscribers --------------------------------------------------------

SUBSCRIBERS, MESSAGES = 200, 20
COMMIT = b"COMMIT\ntransaction:t\nreceipt:committed\n\n\0"


@pytest.fixture
def listener(place: Place) -> Visitor:
    """Subscribe many times to one topic."""
    listener = Visitor(place)
    for number in range(SUBSCRIBERS):
        listener.say(subscribe("/topic/news", number))
    place.settle()
    return listener


@pytest.fixture
def sender(place: Place, listener: Visitor) -> Iterator[Visitor]:
    """Send much to that topic, and something to a queue, in a transaction that is not committed yet."""
    sender = Visitor(place)
    sender.say(b"BEGIN\ntransaction:t\n\n\0")
    for number in range(MESSAGES):
        sender.say(send("/topic/news", str(number), transaction="t"))
    sender.say(send("/queue/stored", "kept", transaction="t", persistent="true"))
    place.settle()
    yield sender
    assert place.broker.memory.room == 512 * 1024 * 1024  # nothing is counted for ever


def news(*after: str) -> list[bytes]:
    """Return what the listener is to hear, each subscription the same."""
    return [
        text.encode() for text in (*map(str, range(MESSAGES)), *after) for _ in range(SUBSCRIBERS)
    ]


def test_others_are_served_while_a_commit_reaches_many(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    """A million deliveries of one COMMIT are nobody's business but its sender's."""
    other = Visitor(place)
    sender.say(COMMIT)
    other.say(send("/queue/other", "x", receipt="at once"))
    place.pass_turn()
    assert other.has_receipt("at once")
    assert 0 < len(listener.bodies()) < SUBSCRIBERS * MESSAGES
    assert place.settle() > 3
    assert listener.bodies() == news()


def test_what_is_stored_is_stored_at_once(place: Place, listener: Visitor, sender: Visitor) -> None:
    """A kill in the midst finds all of the transaction in the store, or nothing. The RECEIPT tells of that."""
    sender.say(COMMIT)
    assert place.broker.routes.queue("stored").waiting == 1
    place.pass_turn()
    place.pass_turn()
    assert not place.broker.journal
    assert sender.has_receipt("committed")
    assert len(listener.bodies()) < SUBSCRIBERS * MESSAGES
    place.settle()


def test_what_is_sent_after_a_commit_comes_after_it(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    """In the same packet or in later ones, also a second COMMIT."""
    sender.say(
        COMMIT,
        send("/topic/news", "same packet"),
        b"BEGIN\ntransaction:u\n\n\0",
        send("/topic/news", "second", transaction="u"),
        b"COMMIT\ntransaction:u\n\n\0",
    )
    was_read = sender.wire.reads
    sender.say(send("/topic/news", "came")[:10])  # it was on its way
    sender.say(send("/topic/news", "came")[10:], b"DISCONNECT\nreceipt:bye\n\n\0")
    place.settle()
    assert listener.bodies() == news("same packet", "second", "came")
    assert (was_read, sender.wire.reads) == (False, True)
    assert sender.has_receipt("bye")
    assert sender.wire.told.index(b"committed") < sender.wire.told.index(b"bye")


def test_one_long_commit_behind_another(place: Place, listener: Visitor, sender: Visitor) -> None:
    """What comes while the first is under way waits for the second as well."""
    sender.say(
        COMMIT,
        b"BEGIN\ntransaction:u\n\n\0",
        *(send("/topic/news", f"second {number}", transaction="u") for number in range(MESSAGES)),
        b"COMMIT\ntransaction:u\nreceipt:second\n\n\0",
    )
    sender.say(send("/topic/news", "came"))
    place.settle()
    assert listener.bodies() == news(*(f"second {number}" for number in range(MESSAGES)), "came")
    assert sender.wire.told.index(b"committed") < sender.wire.told.index(b"second")


def test_a_sender_that_does_not_want_its_own(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    """Neither what is handed out in goes."""
    sender.say(subscribe("/topic/news", 1, **{"no-local": "true"}))
    sender.say(COMMIT)
    place.settle()
    assert listener.bodies() == news()
    assert sender.bodies() == []


def test_one_that_hangs_up_has_said_all_it_wanted(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    """A page that sends COMMIT and more, and ends, is obeyed to the end."""
    sender.say(COMMIT, send("/topic/news", "last words"))
    sender.connection.end_of_input()
    place.settle()
    assert sender.has_receipt("committed")
    assert sender.wire.closed
    assert listener.bodies() == news("last words")


def test_one_that_is_lost_has_said_all_it_wanted(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    """The same when nobody can answer any more; it is gone at once, and gets nothing that others could have."""
    sender.say(subscribe("/queue/own", 1), COMMIT, send("/topic/news", "last words"))
    sender.connection.lost()
    assert not place.broker.routes.queue("own").subscriptions
    place.settle()
    assert listener.bodies() == news("last words")


def test_one_that_is_lost_before_a_full_queue(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    """Nobody waits for ever: its name is free, its subscriptions are over."""
    place.broker.follow(Policies([("full", {"max_messages": 1, "at_limit": "block"})]))
    sender.say(send("/queue/full", "1", persistent="true"), subscribe("/queue/own", 7))
    sender.say(COMMIT, send("/queue/full", "2", persistent="true"))
    sender.connection.lost()
    place.settle()
    assert not place.broker.routes.queue("own").subscriptions
    assert place.broker.routes.queue("full").waiting == 1
    assert listener.bodies() == news()


def test_several_commits_of_one_that_hangs_up(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    """All of them, in order, though it waits for none."""
    sender.say(
        COMMIT,
        b"BEGIN\ntransaction:u\n\n\0",
        *(send("/topic/news", f"second {number}", transaction="u") for number in range(MESSAGES)),
        b"COMMIT\ntransaction:u\n\n\0",
        send("/topic/news", "last words"),
    )
    sender.connection.end_of_input()
    place.settle()
    assert sender.wire.closed
    assert listener.bodies() == news(
        *(f"second {number}" for number in range(MESSAGES)), "last words"
    )


def test_one_that_is_dismissed_meanwhile(place: Place, listener: Visitor, sender: Visitor) -> None:
    """What was committed is committed; what came behind it is not heard."""
    sender.say(COMMIT, send("/topic/news", "too late"))
    sender.connection.close()
    sender.connection.lost()
    place.settle()
    assert listener.bodies() == news()


def test_subscribers_come_and_go_meanwhile(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    """Who has unsubscribed gets nothing more, who comes later nothing that was sent before."""
    sender.say(COMMIT)
    for number in range(1, SUBSCRIBERS):
        listener.say(b"UNSUBSCRIBE\nid:%d\n\n\0" % number)
    listener.connection.flush()
    heard = len(listener.bodies())
    late = Visitor(place)
    late.say(subscribe("/topic/news", 1))
    place.settle()
    assert heard < len(listener.bodies()) <= heard + MESSAGES
    assert listener.bodies()[-1] == b"%d" % (MESSAGES - 1)
    assert late.bodies() == []


def test_who_comes_meanwhile_gets_what_the_topic_keeps_once(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    """Of what was sent before it came: all of the COMMIT, as soon as it is done."""
    place.broker.follow(Policies([("news", {"recover_messages": 1000})]))
    sender.say(send("/topic/news", "kept", transaction="t", **{"ActiveMQ.Retain": "true"}), COMMIT)
    retroactive, late = Visitor(place), Visitor(place)
    retroactive.say(subscribe("/topic/news", 1, **{"activemq.retroactive": "true"}))
    late.say(subscribe("/topic/news", 1))
    place.settle()
    assert retroactive.bodies() == [*(b"%d" % number for number in range(MESSAGES)), b"kept"]
    assert late.bodies() == [b"kept"]
    place.broker.follow(Policies([("news", {"retain": False})]))  # nothing is kept any more


def test_a_topic_is_not_idle_before_all_have_theirs(place: Place) -> None:
    """One that only wildcards take from is looked at as idle, and would be forgotten in the midst."""
    listener, sender = Visitor(place), Visitor(place)
    for number in range(SUBSCRIBERS):
        listener.say(subscribe("/topic/*", number))
    sender.say(b"BEGIN\ntransaction:t\n\n\0")
    for number in range(MESSAGES):
        sender.say(send("/topic/news", str(number), transaction="t"))
    place.broker.sweep()
    sender.say(COMMIT)
    place.broker.sweep()
    place.settle()
    assert listener.bodies() == news()
    place.broker.sweep()
    place.broker.sweep()
    assert "news" not in place.broker.routes.topics


def test_what_expires_meanwhile_is_not_handed_out(
    place: Place, listener: Visitor, sender: Visitor
) -> None:
    sender.say(send("/topic/news", "too late", transaction="t", expires="1000"), COMMIT)
    place.turn.end()
    while place.broker.again:
        place.turn.begin(60.0, 60.0)
        place.turn.end()
    assert listener.bodies() == news()


# --- many who choose from one queue ---------------------------------------------------------------------


def test_many_who_choose_come_to_rest(place: Place) -> None:
    """Each in its turn, over many turns of the broker, and then nobody has anything to do."""
    listener, sender = Visitor(place), Visitor(place)
    for number in range(200):
        listener.say(subscribe("/queue/replies", number, selector=f"id = '{number}'"))
    place.settle()
    for number in range(200):
        sender.say(send("/queue/replies", str(number), id=str(number)))
    listener.say(b"UNSUBSCRIBE\nid:0\n\n\0")
    sender.say(send("/queue/replies", "nobody's", id="0"))
    assert place.settle() > 3
    assert sorted(map(int, listener.bodies())) == [*range(200)]
    assert place.broker.routes.queue("replies").waiting == 1


# --- a wildcard, and many queues -----------------------------------------------------------------------

QUEUES = 500


@pytest.fixture
def queues(place: Place) -> list[str]:
    """Make many queues with a message each."""
    names = [f"shop.{number}" for number in range(QUEUES)]
    producer = Visitor(place)
    for name in names:
        producer.say(send(f"/queue/{name}", name, persistent="true"))
    place.settle()
    return names


def joined(place: Place) -> int:
    """Return how many queues have a consumer."""
    return sum(bool(queue.subscriptions) for queue in place.broker.routes.queues.values())


@pytest.mark.parametrize("selector", ["", "JMSPriority = 4"])
def test_a_wildcard_takes_from_many_queues_in_goes(
    place: Place, queues: list[str], selector: str
) -> None:
    """It gets all there is, and others are served meanwhile."""
    reader = Visitor(place)
    reader.say(
        subscribe("/queue/shop.>", 1, receipt="r", **({"selector": selector} if selector else {}))
    )
    place.pass_turn()
    assert reader.has_receipt("r")
    assert 0 < joined(place) < QUEUES
    assert place.settle() > 3
    assert joined(place) == QUEUES
    assert sorted(reader.bodies()) == sorted(name.encode() for name in queues)


def test_queues_come_and_go_while_a_wildcard_meets_them(place: Place, queues: list[str]) -> None:
    """A new one is taken from once, one that is no more not at all."""
    reader, other = Visitor(place), Visitor(place)
    reader.say(subscribe("/queue/shop.>", 1))
    routes = place.broker.routes
    [gone, *_] = [queue for queue in routes.queues.values() if not queue.subscriptions]
    other.say(subscribe(gone.destination, 1), b"UNSUBSCRIBE\nid:1\n\n\0")
    routes.remove_queue(gone)
    other.say(send("/queue/shop.new", "new"), send(gone.destination, "made anew"))
    place.settle()
    assert joined(place) == QUEUES + 1
    assert reader.bodies().count(b"new") == reader.bodies().count(b"made anew") == 1


@pytest.mark.parametrize("leave", ["UNSUBSCRIBE", "hang up"])
def test_a_wildcard_that_ends_leaves_many_queues_in_goes(
    place: Place, queues: list[str], leave: str
) -> None:
    """It gets nothing more from that moment, and others get what it had."""
    reader, other = Visitor(place), Visitor(place)
    reader.say(subscribe("/queue/shop.>", 1, ack="client-individual", selector="JMSPriority = 4"))
    place.settle()
    had = len(reader.bodies())
    assert had == QUEUES
    if leave == "UNSUBSCRIBE":
        reader.say(b"UNSUBSCRIBE\nid:1\n\n\0")
    else:
        reader.connection.end_of_input()
    assert joined(place) > 0
    other.say(send("/queue/shop.0", "later"))
    assert place.settle() > 3
    assert joined(place) == 0
    assert len(reader.bodies()) == had
    other.say(subscribe("/queue/shop.*", 2))
    place.settle()
    assert len(other.bodies()) == QUEUES + 1


def test_one_that_ends_before_it_has_met_all(place: Place, queues: list[str]) -> None:
    """Nothing of it is left."""
    reader = Visitor(place)
    reader.say(subscribe("/queue/shop.>", 1))
    place.pass_turn()
    assert joined(place) < QUEUES
    reader.say(b"UNSUBSCRIBE\nid:1\n\n\0")
    place.settle()
    assert joined(place) == 0


def test_a_queue_ends_while_a_wildcard_leaves_it(place: Place, queues: list[str]) -> None:
    """Whoever goes first, the other finds nothing wrong."""
    reader = Visitor(place)
    reader.say(subscribe("/queue/shop.>", 1, selector="JMSPriority = 4"))
    place.settle()
    reader.say(b"UNSUBSCRIBE\nid:1\n\n\0")
    routes = place.broker.routes
    for queue in [queue for queue in routes.queues.values() if queue.subscriptions]:
        routes.remove_queue(queue)
    place.settle()
    assert joined(place) == 0


def test_wildcards_while_memory_is_short(place: Place, queues: list[str]) -> None:
    """They meet queues that have something, which makes room, and the others when there is memory again."""
    place.broker.hold_back(True)
    reader, late = Visitor(place), Visitor(place)
    reader.say(subscribe("/queue/shop.>", 1, ack="client-individual", **{"prefetch-count": "200"}))
    place.settle()
    assert joined(place) < QUEUES / 2
    assert len(reader.bodies()) == 200
    reader.say(*(b"ACK\nid:%b\n\n\0" % ack for ack in re.findall(rb"\nack:(.*)", reader.wire.told)))
    place.broker.hold_back(True)  # as every second
    place.settle()
    assert len(reader.bodies()) == 400
    place.broker.hold_back(False)
    place.settle()
    assert joined(place) == QUEUES
    reader.connection.end_of_input()
    place.settle()
    place.broker.hold_back(True)
    late.say(subscribe("/queue/shop.>", 1))
    place.settle()
    assert len(late.bodies()) == 300  # 200 are given back
    assert joined(place) < QUEUES
    place.broker.hold_back(False)
    place.settle()
    assert joined(place) == QUEUES


@pytest.mark.parametrize("name", ["selector", "activemq.exclusive", "activemq.priority"])
def test_wildcards_that_choose_while_memory_is_short(
    place: Place, queues: list[str], name: str
) -> None:
    """They make room as others do."""
    how = {"selector": "JMSPriority = 4", "activemq.exclusive": "true", "activemq.priority": "5"}
    place.broker.hold_back(True)
    reader = Visitor(place)
    reader.say(subscribe("/queue/shop.>", 1, **{name: how[name]}))
    place.settle()
    assert len(reader.bodies()) == QUEUES


def test_mandatory_while_a_wildcard_meets_queues_and_leaves_them(
    place: Place, queues: list[str]
) -> None:
    """Whoever has its RECEIPT is there, and whoever has unsubscribed is not."""
    worker, caller = Visitor(place), Visitor(place)
    worker.say(subscribe("/queue/shop.>", 1, ack="client-individual"))
    for number in range(QUEUES):
        caller.say(send(f"/queue/shop.{number}", "x", mandatory="true"))
    place.settle()
    assert b"ERROR" not in caller.wire.told
    assert sorted(worker.bodies()) == sorted(
        [*(name.encode() for name in queues), *[b"x"] * QUEUES]
    )
    worker.say(b"UNSUBSCRIBE\nid:1\n\n\0")
    for number in range(QUEUES):
        caller.say(send(f"/queue/shop.{number}", "x", mandatory="true"))
    place.settle()
    assert caller.wire.told.count(b"There is no consumer of") == 2 * QUEUES


def test_subscriptions_while_memory_is_short(place: Place) -> None:
    """A connection may have some, to consume what there is; more it may have later."""
    reader = Visitor(place)
    place.broker.hold_back(True)
    for number in range(ENOUGH + 1):
        reader.say(subscribe("/queue/a", number, receipt=f"r{number}"))
    place.settle()
    assert reader.has_receipt(f"r{ENOUGH - 1}")
    assert not reader.has_receipt(f"r{ENOUGH}")
    assert b"ERROR\nmessage:The broker's memory is full" in reader.wire.told
    assert b"\nretry:true\n" in reader.wire.told
    place.broker.hold_back(False)
    reader.say(subscribe("/queue/a", ENOUGH, receipt="again"))
    place.settle()
    assert reader.has_receipt("again")


def test_topics_are_joined_at_once(place: Place) -> None:
    """What is sent to any of them after the SUBSCRIBE comes."""
    producer, reader = Visitor(place), Visitor(place)
    topics = [f"/topic/t.{number}" for number in range(QUEUES)]
    for topic in topics:
        producer.say(send(topic, "nobody hears it"))
    reader.say(subscribe("/topic/t.>", 1))
    for topic in topics:
        producer.say(send(topic, topic))
    place.settle()
    assert reader.bodies() == [topic.encode() for topic in topics]
