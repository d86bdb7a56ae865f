"""What happens to messages on a link, step by step, without sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.errors import ProtocolError, Refusal
from broker.peering.address import MOST_HOPS, make_test, read_address, way_back
from broker.peering.receiving import check_way, read_key
from tests.peering.sites import Line, Site, settle

TO_B, HERE = "/peer/B/queue/x", "/queue/x"


def pair(**settings: Any) -> tuple[Site, Site]:
    """Return A, which dials, and B."""
    return Site("A", "B", "stomp://b", **settings), Site("B", "A", **settings)


def bodies(site: Site) -> list[bytes]:
    return [frame.body for frame in site.take_all(HERE)]


def test_it_is_not_confirmed_before_it_is_on_disk() -> None:
    a, b = pair()
    line = Line(a, b)
    a.send(TO_B, b"1")
    line.deliver_all()
    assert a.peer.forwarded == 0
    b.commit_all()
    line.deliver_all()
    assert a.peer.forwarded == 1


@pytest.mark.parametrize("written", [False, True])
def test_killed_before_it_could_confirm(written: bool) -> None:
    """What is in the batch that came to the disk is known again; what is not is taken again."""
    a, b = pair()
    line = Line(a, b)
    line.deliver_all()
    b.commit_all()
    a.send(TO_B, b"1")
    line.deliver_all()
    b.kill(written)
    line.cut(b)
    settle(a, b)
    assert b.peer.repeated == int(written)
    assert bodies(b) == [b"1"]


def test_many_lost_links_bury_nothing() -> None:
    """Twenty times it was on its way, and each time the line was lost."""
    a, b = pair()
    a.send(TO_B, b"1")
    for number in range(20):
        line = Line(a, b)
        line.deliver_all()
        line.cut()
        assert a.peer.queue.waiting == 1, number
    settle(a, b)
    assert bodies(b) == [b"1"]
    assert a.take_all("/queue/ActiveMQ.DLQ") == []


def test_what_the_peer_cannot_bear_is_given_up() -> None:
    """A message that ends the link each time is a dead letter after some tries, and the next one goes on."""
    a, b = pair()
    b.options = replace(b.options, max_header_line=100)
    b.start()
    a.send(TO_B, b"1", long="x" * 5000)
    a.send(TO_B, b"2")
    settle(a, b)
    assert bodies(b) == [b"2"]
    [letter] = a.take_all("/queue/ActiveMQ.DLQ")
    assert letter.body == b"1"


def test_a_link_that_comes_while_another_is_there() -> None:
    """The new one takes over, on both sides; the old one is told to end."""
    a, b = pair()
    b.send("/peer/A/queue/x", b"1")
    old = Line(a, b)
    old.deliver_all()
    a.kill(written=True)  # B has not noticed
    settle(a, b)
    assert bodies(a) == [b"1"]
    assert b.peer.queue.waiting == 0


def test_another_store_has_other_numbers() -> None:
    """A peer that began anew is not taken for the one before."""
    a, b = pair()
    a.send(TO_B, b"1")
    settle(a, b)
    other = Site("A", "B", "stomp://b")
    other.send(TO_B, b"2")
    settle(other, b)
    assert bodies(b) == [b"1", b"2"]


def test_paused() -> None:
    """Nothing is sent, also after a restart; what comes is taken."""
    a, b = pair()
    a.run(lambda: a.peer.pause(True))
    a.send(TO_B, b"1")
    b.send("/peer/A/queue/x", b"2")
    settle(a, b)
    a.kill(written=True)
    settle(a, b)
    assert (bodies(a), bodies(b)) == ([b"2"], [])
    line = Line(a, b)
    a.run(lambda: a.peer.pause(False))
    line.cut()
    settle(a, b)
    assert bodies(b) == [b"1"]


def test_a_window() -> None:
    """No more than so many are on their way at once."""
    a, b = pair(window=3)
    for number in range(10):
        a.send(TO_B, b"%d" % number)
    line = Line(a, b)
    line.deliver_all()
    assert len(a.peer.queue.subscriptions) == 1
    assert a.peer.queue.waiting == 7
    line.cut()
    settle(a, b)
    assert bodies(b) == [b"%d" % number for number in range(10)]


def test_what_was_sent_does_not_expire_here() -> None:
    """The peer may have it: it is for the peer to say whether it came in time."""
    a, b = pair()
    line = Line(a, b)
    a.send(TO_B, b"1", expires="1000000500")
    line.deliver_all()
    line.cut()
    b.commit_all()
    a.broker.now += 1000
    a.run(a.broker.sweep)
    assert a.peer.queue.waiting == 1
    settle(a, b)
    assert b.peer.repeated == 1
    assert bodies(b) == [b"1"]


def test_the_troubles_are_told_once() -> None:
    a, b = pair()
    for _ in range(3):
        a.peer.failed("no route\nto host")
    assert a.told == ["no route to host"]
    settle(a, b)
    a.peer.failed("no route\nto host")
    assert a.told[1:] == ["", "the link was lost", "no route to host"]


# --- rules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "name", "target"),
    [
        ("/peer/B/queue/x", "B", "/queue/x"),
        ("/peer/B/topic/x/y", "B", "/topic/x/y"),
        ("/peer/B/peer/C/queue/x", "B", "/peer/C/queue/x"),
        ("/peer/B/remote-temp-queue/x", "B", "/remote-temp-queue/x"),
    ],
)
def test_addresses(destination: str, name: str, target: str) -> None:
    assert read_address(destination) == (name, target)


@pytest.mark.parametrize(
    "destination",
    [
        *("/peer/", "/peer/B", "/peer/B/", "/peer/B/x", "/peer/B/queue/", "/peer//queue/x"),
        *("/peer/B/queue/*", "/peer/B/topic/a.>", "/peer/B//queue/x", "/peer/B/temp-queue/x"),
    ],
)
def test_no_addresses(destination: str) -> None:
    with pytest.raises(Refusal):
        read_address(destination)


@pytest.mark.parametrize(
    ("reply_to", "there"),
    [
        ("/queue/x", "/peer/A/queue/x"),
        ("x", "/peer/A/queue/x"),
        ("/queue/x, /topic/y", "/peer/A/queue/x,/peer/A/topic/y"),
        ("/peer/C/queue/x", "/peer/A/peer/C/queue/x"),
        (" ", " "),
    ],
)
def test_the_way_back(reply_to: str, there: str) -> None:
    assert way_back(reply_to, "A") == there


@pytest.mark.parametrize(
    ("patterns", "allowed", "others"),
    [
        (">", "/queue/x /topic/x /peer/C/queue/x", "/queue/rpc.broker /topic/rpc.broker"),
        ("a.*, b", "/queue/a.x /topic/b", "/queue/a /queue/a.x.y /queue/c"),
        ("/queue/a", "/queue/a", "/topic/a /peer/B/queue/a"),
        ("/peer/C/queue/a.>", "/peer/C/queue/a.b", "/queue/a.b /peer/B/queue/a.b"),
        ("rpc.broker", "/queue/rpc.broker", "/queue/rpc"),
        ("", "", "/queue/a /queue/"),
    ],
)
def test_what_may_pass(patterns: str, allowed: str, others: str) -> None:
    may_pass = make_test(patterns)
    assert all(may_pass(destination) for destination in allowed.split())
    assert not any(may_pass(destination) for destination in others.split())


def test_the_way_ends() -> None:
    """In a ring, and after too many brokers."""
    way = [f"B{number}" for number in range(MOST_HOPS)]
    check_way(way, "A")
    for via in (["A"], ["C", "A"], [*way, "B16"]):
        with pytest.raises(Refusal):
            check_way(via, "A")


def test_keys() -> None:
    assert read_key("4.17") == (4, 17)
    for key in ("", "4", "4.", ".1", "4.x", "-4.1", "4.٣", "4.1.1", "4." + "9" * 20):
        with pytest.raises(ProtocolError):
            read_key(key)
