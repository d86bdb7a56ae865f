"""A consumer without a socket: what it says when messages come again, without a broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.stomp import Frame, Parser
from rpc.address import Address
from rpc.errors import BrokerRefused, ConnectionLost
from rpc.jobs.consuming import read_settings
from rpc.jobs.inflow import Inflow
from rpc.jobs.message import Message
from tests.rpc.canned import CONNECTED
from tests.rpc.test_lifeline import Host

LOST = ConnectionLost("cut", sent=True)


class Loop(Host):
    """A loop that goes on when the test says so, and counts what came."""

    def __init__(self) -> None:
        super().__init__()
        self.told = 0

    def came(self) -> None:
        self.told += 1


class Story:
    """An inflow, and the broker's side of it."""

    def __init__(self) -> None:
        self.host = Loop()
        self.inflow = Inflow(
            self.host,
            read_settings(Address("127.0.0.1", 1), "jobs"),
            lambda *said: self.inflow.say(*said),
        )
        self.inflow.lifeline.connect()
        self.connect()

    def connect(self) -> None:
        self.inflow.lifeline.opened()
        self.hear(CONNECTED)
        self.host.written.clear()
        self.hear(b"RECEIPT\nreceipt-id:subscribed\n\n\0")

    def cut(self) -> None:
        self.inflow.lifeline.lost(LOST)
        self.inflow.lifeline.connect()

    def hear(self, data: bytes) -> None:
        self.inflow.lifeline.received(data)

    def message(self, key: str, ack: str) -> None:
        self.hear(f"MESSAGE\nmessage-id:{key}\nack:{ack}\n\n\0".encode())

    def taken(self) -> Message:
        message = self.inflow.take()
        assert message is not None
        return message

    def said(self) -> list[tuple[str, dict[str, str]]]:
        """Return the frames that were sent since the last time."""
        self.host.end_pass()
        parser = Parser()
        frames: list[Frame] = parser.feed(b"".join(self.host.written)) + parser.feed(b"")
        self.host.written.clear()
        return [(frame.command, dict(frame.headers)) for frame in frames]


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_message_is_taken_once_and_its_word_sent(story: Story) -> None:
    story.message("m1", "1")
    assert story.host.told == 1
    story.taken().processed()
    assert story.inflow.take() is None
    assert story.said() == [("ACK", {"id": "1", "receipt": "m1"})]


@pytest.mark.parametrize(
    ("word", "frame"),
    [
        (lambda message: message.processed(), ("ACK", {"id": "2", "receipt": "m1"})),
        (
            lambda message: message.failed("why"),
            ("NACK", {"id": "2", "requeue": "false", "receipt": "m1", "reason": "why"}),
        ),
    ],
)
def test_a_word_that_was_not_confirmed_is_said_again(
    story: Story, word: Callable[[Message], None], frame: tuple[str, dict[str, str]]
) -> None:
    story.message("m1", "1")
    word(story.taken())
    story.said()
    story.cut()
    story.connect()
    story.message("m1", "2")
    assert story.inflow.take() is None
    assert story.said() == [frame]


def test_a_word_that_was_confirmed_is_forgotten(story: Story) -> None:
    """It comes again because an administrator wants it so, say."""
    story.message("m1", "1")
    story.taken().processed()
    story.hear(b"RECEIPT\nreceipt-id:m1\n\n\0")
    story.message("m1", "2")
    assert story.inflow.take() is not None


def test_what_was_given_back_is_taken_again_before_that_is_confirmed(story: Story) -> None:
    story.message("m1", "1")
    story.taken().later()
    [(verb, headers)] = story.said()
    assert (verb, headers["requeue"], headers["delay"]) == ("NACK", "true", "0")
    story.message("m1", "2")
    assert story.taken().word is None
    assert story.said() == []


def test_what_is_at_work_is_not_handed_out_twice(story: Story) -> None:
    story.message("m1", "1")
    message = story.taken()
    story.cut()
    story.connect()
    story.message("m1", "2")
    assert story.inflow.take() is None
    message.processed()
    assert story.said() == [("ACK", {"id": "2", "receipt": "m1"})]


@pytest.mark.parametrize("delay", [None, 2.5])
def test_a_word_without_a_connection_waits_for_the_message(
    story: Story, delay: float | None
) -> None:
    story.message("m1", "1")
    message = story.taken()
    story.cut()
    if delay is None:
        message.processed()
    else:
        message.later(delay)
    story.connect()
    story.message("m1", "2")
    assert story.inflow.take() is None
    [(verb, headers)] = story.said()
    assert (verb, headers.get("delay")) == (("ACK", None) if delay is None else ("NACK", "2500"))


def test_what_waits_to_be_taken_is_gone_with_its_connection(story: Story) -> None:
    story.message("m1", "1")
    story.cut()
    assert story.inflow.take() is None


def test_it_leaves_when_the_broker_has_confirmed(story: Story) -> None:
    story.message("m1", "1")
    story.message("m2", "2")
    story.taken().processed()
    story.inflow.finish()
    assert [verb for verb, _ in story.said()] == ["ACK", "DISCONNECT"]
    assert story.inflow.take() is None
    assert not story.inflow.over
    story.hear(b"RECEIPT\nreceipt-id:m1\n\n\0RECEIPT\nreceipt-id:goodbye\n\n\0")
    assert story.inflow.over


def test_it_leaves_at_once_without_a_connection(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    story.message("m1", "1")
    story.taken().processed()
    story.cut()
    story.inflow.finish()
    assert story.inflow.over
    assert "not confirmed 1 words: their messages may come again" in caplog.text


def test_an_error_later_on_is_noted_and_no_end(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    story.hear(b"ERROR\nmessage:no such message\nreceipt-id:m9\n\n\0")
    assert not story.inflow.over
    assert "no such message" in caplog.text


def test_a_refused_subscription_is_the_end() -> None:
    story = Story.__new__(Story)
    story.host = Loop()
    settings = read_settings(Address("127.0.0.1", 1), "jobs")
    story.inflow = Inflow(story.host, settings, lambda *said: None)
    story.inflow.lifeline.connect()
    story.inflow.lifeline.opened()
    story.hear(CONNECTED + b"ERROR\nmessage:not for you\nreceipt-id:subscribed\n\n\0")
    assert story.inflow.over
    assert isinstance(story.inflow.refusal, BrokerRefused)
