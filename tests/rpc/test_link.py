"""The STOMP conversation, bytes only; time is passed in."""

import pytest

from broker.stomp import Frame, Parser
from rpc.address import Address
from rpc.errors import BrokerRefused, ConnectionLost
from rpc.link import Link, refusal


def read(data: bytes, version: str = "1.2") -> list[Frame]:
    """Return the frames that a broker would read."""
    parser = Parser()
    parser.version = version
    frames = parser.feed(data)
    assert parser.error is None
    return frames


def opened(version: str = "1.2", heart_beat: float = 0.0, theirs: str = "0,0") -> Link:
    link = Link(Address("h"), heart_beat)
    link.connect(0.0)
    link.receive(f"CONNECTED\nversion:{version}\nheart-beat:{theirs}\n\n\0\n".encode(), 0.0)
    assert link.open
    return link


def test_connect_says_who_and_where() -> None:
    link = Link(Address("h", login="me", passcode="a:b", vhost="shop"), 10.0)
    (frame,) = read(link.connect(0.0))
    assert frame.command == "CONNECT"
    assert frame.headers == {
        "accept-version": "1.0,1.1,1.2",
        "host": "shop",
        "heart-beat": "10000,10000",
        "login": "me",
        "passcode": "a:b",
    }


def test_the_virtual_host_is_the_host_if_none_is_named() -> None:
    (frame,) = read(Link(Address("h")).connect(0.0))
    assert frame.headers["host"] == "h"
    assert "login" not in frame.headers


def test_connected_may_come_in_pieces_and_with_more_behind_it() -> None:
    link = Link(Address("h"))
    link.connect(0.0)
    stream = (
        b"CONNECTED\nversion:1.2\n\n\0\nMESSAGE\na:b\\cc\n\nhello\0\nRECEIPT\nreceipt-id:1\n\n\0\n"
    )
    frames = []
    for n in range(len(stream)):
        frames += link.receive(stream[n : n + 1], 0.0)
    assert frames == [
        Frame("MESSAGE", {"a": "b:c"}, b"hello"),
        Frame("RECEIPT", {"receipt-id": "1"}),
    ]
    whole = Link(Address("h"))
    whole.connect(0.0)
    assert whole.receive(stream, 0.0) == frames


def test_a_refused_connect_raises_the_brokers_words() -> None:
    link = Link(Address("h"))
    link.connect(0.0)
    with pytest.raises(BrokerRefused, match=r"^User name or password is invalid: ask the admin$"):
        link.receive(b"ERROR\nmessage:User name or password is invalid\n\nask\nthe admin\0", 0.0)
    assert not link.open


def test_words_that_are_repeated_are_told_once() -> None:
    error = refusal(Frame("ERROR", {"message": "No"}, b"No, really\n  not\n"))
    assert error.reason == "No, really not"
    assert refusal(Frame("ERROR", {"message": "No"})).reason == "No"
    assert refusal(Frame("ERROR")).reason == "ERROR"
    assert error.sent


def test_bytes_that_are_no_stomp_end_the_connection() -> None:
    link = opened()
    with pytest.raises(ConnectionLost, match="no STOMP"):
        link.receive(b"MESSAGE\ncontent-length:-1\n\n\0", 0.0)


def test_an_error_on_an_open_link_is_its_owners_to_judge() -> None:
    (frame,) = opened().receive(b"ERROR\nmessage:No\n\n\0", 0.0)
    assert frame.command == "ERROR"


def test_subscribe_names_the_prefetch_as_both_dialects_do() -> None:
    (frame,) = read(opened().subscribe("/queue/a", "s", "client", prefetch=8, receipt="r"))
    assert frame == Frame(
        "SUBSCRIBE",
        {
            "id": "s",
            "destination": "/queue/a",
            "ack": "client",
            "activemq.prefetchSize": "8",
            "prefetch-count": "8",
            "receipt": "r",
        },
    )
    (frame,) = read(opened().subscribe("/queue/a", "s", "auto"))
    assert set(frame.headers) == {"id", "destination", "ack"}


def test_send_and_disconnect() -> None:
    link = opened()
    data = link.send({"destination": "/queue/a", "x": "a:b"}, b"hi") + link.disconnect("bye")
    send, disconnect = read(data)
    assert send.headers == {"destination": "/queue/a", "x": "a:b", "content-length": "2"}
    assert send.body == b"hi"
    assert disconnect == Frame("DISCONNECT", {"receipt": "bye"})
    assert read(link.disconnect()) == [Frame("DISCONNECT")]


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ("1.2", {"id": "a:1"}),
        ("1.1", {"message-id": "m", "subscription": "s"}),
        ("1.0", {"message-id": "m", "subscription": "s"}),
    ],
)
def test_an_ack_names_the_message_as_the_version_wants(version: str, named: dict[str, str]) -> None:
    link = opened(version)
    message = Frame("MESSAGE", {"ack": "a:1", "message-id": "m", "subscription": "s"})
    assert read(link.ack(message), version) == [Frame("ACK", named)]


def test_a_message_without_a_subscription_is_acked_by_its_id_alone() -> None:
    assert read(opened("1.0").ack(Frame("MESSAGE", {"message-id": "m"})), "1.0") == [
        Frame("ACK", {"message-id": "m"})
    ]


def test_heart_beats_leave_before_they_are_due_and_only_then() -> None:
    link = opened(heart_beat=10.0, theirs="10000,10000")
    check = link.next_check()
    assert check is not None
    assert 8.0 <= check < 10.0
    assert link.beat(check - 0.1) == b""
    assert link.beat(check) == b"\n"
    link.wrote(check)
    assert link.beat(check) == b""


def test_a_silent_broker_is_given_up_after_twice_the_interval() -> None:
    link = opened(heart_beat=10.0, theirs="10000,10000")
    link.receive(b"\n", 5.0)
    link.beat(24.9)
    with pytest.raises(ConnectionLost, match=r"silent for 20\.0 s"):
        link.beat(25.0)


def test_without_heart_beats_there_is_nothing_to_check() -> None:
    link = opened(heart_beat=10.0, theirs="0,0")
    assert link.next_check() is None
    assert link.beat(1e9) == b""
