"""Requests and replies as they travel: destinations and headers."""

import pytest

from broker.stomp.frame import header_lines
from rpc.codec import MSGPACK
from rpc.message import (
    deadline_of,
    reply_lines,
    reply_queue,
    request_headers,
    request_queue,
    service_topic,
)


def test_queues() -> None:
    assert request_queue("demo") == "/queue/rpc.demo"
    assert service_topic("demo") == "/topic/rpc.demo"
    assert reply_queue("u1") == "/queue/rpc.reply.u1"


@pytest.mark.parametrize("service", ["", "a b", "a/b", "a:b", "ä", ".a", "a\n"])
def test_a_service_name_that_could_not_be_a_queue(service: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        request_queue(service)
    with pytest.raises(ValueError, match="letters, digits"):
        service_topic(service)


def test_a_request_asks_for_the_same_safety_in_every_broker() -> None:
    """The absence of `persistent` means one thing here and another in ActiveMQ."""
    durable = request_headers("/queue/rpc.demo", "/queue/r", durable=True)
    assert durable == {
        "destination": "/queue/rpc.demo",
        "content-type": "application/json",
        "reply-to": "/queue/r",
        "persistent": "true",
    }
    assert request_headers("/queue/a", "/queue/r", durable=False)["persistent"] == "false"


def read(lines: bytes) -> dict[str, str]:
    """Return headers that need no escape."""
    return dict(line.split(":", 1) for line in lines.decode().splitlines())


def test_a_reply_copies_what_the_request_says_about_it() -> None:
    request = {
        "destination": "/queue/rpc.demo",
        "reply-to": "/queue/r",
        "correlation-id": "c-1",
        "expires": "1000",
        "persistent": "false",
        "priority": "7",
    }
    assert read(reply_lines(request)) == {
        "destination": "/queue/r",
        "content-type": "application/json",
        "correlation-id": "c-1",
        "expires": "1000",
        "persistent": "false",
    }


def test_a_reply_invents_nothing() -> None:
    assert read(reply_lines({"reply-to": "/queue/r"})) == {
        "destination": "/queue/r",
        "content-type": "application/json",
    }


def test_the_codec_is_named_both_ways() -> None:
    headers = request_headers("/queue/rpc.demo", "/queue/r", durable=True, codec=MSGPACK)
    assert headers["content-type"] == "application/msgpack"
    reply = read(reply_lines(headers, MSGPACK))
    assert reply["content-type"] == "application/msgpack"


@pytest.mark.parametrize("headers", [{}, {"reply-to": ""}, {"correlation-id": "c"}])
def test_no_reply_to_means_no_reply(headers: dict[str, str]) -> None:
    assert reply_lines(headers) == b""


def test_items_of_a_stream_may_come_later_than_it_must_begin() -> None:
    request = {"reply-to": "/queue/r", "correlation-id": "c", "expires": "1", "persistent": "true"}
    assert "expires" in read(reply_lines(request))
    assert read(reply_lines(request, in_stream=True)) == {
        "destination": "/queue/r",
        "content-type": "application/json",
        "correlation-id": "c",
        "persistent": "true",
    }


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_what_a_reply_copies_is_escaped_as_its_version_wants(version: str) -> None:
    strange = {
        name: f"{name}:\\\n" for name in ("reply-to", "correlation-id", "expires", "persistent")
    }
    told = {
        "destination": strange["reply-to"],
        "content-type": "application/json",
        **{name: strange[name] for name in ("correlation-id", "expires", "persistent")},
    }
    assert reply_lines(strange, version=version) == header_lines(told.items(), version)


def test_what_needs_no_escape_is_written_the_same_either_way() -> None:
    request = {"reply-to": "/queue/r", "correlation-id": "c", "expires": "1", "persistent": "true"}
    assert reply_lines(request, plain=True) == reply_lines(request)


@pytest.mark.parametrize(
    ("expires", "deadline"),
    [
        ("99999", 99.999),
        ("100000", 100.0),
        ("0", None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("²", None),
        ("9" * 5000, None),
    ],
)
def test_a_deadline_counts_milliseconds_and_0_is_none(expires: str, deadline: float | None) -> None:
    assert deadline_of({"expires": expires}) == deadline


def test_without_a_deadline_nothing_expires() -> None:
    assert deadline_of({}) is None
