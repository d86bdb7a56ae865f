"""A client's calls without a socket: the frames that they are, and what the frames that come make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from broker.stomp import Frame, Parser
from rpc.calling.caller import (
    CALL,
    NOTIFICATION,
    Caller,
    batch_of,
    broadcast,
    encode_params,
    stream,
)
from rpc.calling.calls import Call, Kind
from rpc.calling.items import Items
from rpc.calling.options import CallOptions
from rpc.codec import JSON
from rpc.context import CURRENT, Context
from rpc.errors import ConnectionLost, ServiceUnavailable, Timeout

UNIQUE = "0123456789abcdef"
REPLIES = f"/queue/rpc.reply.{UNIQUE}"


@pytest.fixture
def caller() -> Caller:
    return Caller("demo", UNIQUE, durable=True)


def frame_of(data: bytes) -> Frame:
    """Return the one frame that these bytes are."""
    parser = Parser()
    parser.version = "1.2"
    (frame,) = parser.feed(data)
    assert parser.error is None
    return frame


def begin(
    caller: Caller, options: CallOptions | None = None, kind: Kind[Any] = CALL
) -> tuple[Any, Frame]:
    options = options or CallOptions()
    params = encode_params((1,), {}, options.coder)
    call = caller.open("whee", params, options, 100.0, 1000.0, kind)
    return call, frame_of(call.data)


def reply(call: Call, result: Any = None, **more: str) -> Frame:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    body = call.codec.result_body(call.call_id, result)
    return Frame("MESSAGE", {"correlation-id": call.call_id} | headers, body)


# What is sent


def test_a_call_as_the_page_describes_it(caller: Caller) -> None:
    call, frame = begin(caller)
    assert frame.headers == {
        "destination": "/queue/rpc.demo",
        "content-type": "application/json",
        "reply-to": REPLIES,
        "correlation-id": call.call_id,
        "expires": "1030000",
        "persistent": "true",
        "content-length": str(len(frame.body)),
    }
    assert JSON.decode(frame.body) == {
        "jsonrpc": "2.0",
        "method": "whee",
        "params": [1],
        "id": call.call_id,
    }


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"timeout": None}, {"expires": None}),
        ({"codec": "msgpack"}, {"content-type": "application/msgpack"}),
        ({"priority": 0}, {"priority": "0"}),
        ({"no_worker": "fail", "codec": "msgpack"}, {"mandatory": "true"}),
        ({"headers": {"a:b": "c\n"}}, {"a:b": "c\n"}),
        ({"on_loss": "resend"}, {"dedup-id": None, "idempotency-key": "01234567-1"}),
        (
            {"on_loss": "resend", "headers": {"idempotency-key": "mine"}},
            {"dedup-id": None, "idempotency-key": "mine"},
        ),
        ({"on_loss": "wait"}, {"dedup-id": None, "idempotency-key": None}),
    ],
)
def test_headers_that_options_lead_to(
    caller: Caller, options: dict[str, Any], wanted: dict[str, str | None]
) -> None:
    _, frame = begin(caller, CallOptions(**options))
    assert {name: frame.headers.get(name) for name in wanted} == wanted


def test_a_notification_that_is_sent_again_is_kept_once(caller: Caller) -> None:
    """A call is not: its first reply may be lost, and the second is wanted."""
    _, frame = begin(caller, CallOptions(on_loss="resend"), NOTIFICATION)
    assert frame.headers["dedup-id"] == frame.headers["receipt"]


def test_a_call_in_messagepack(caller: Caller) -> None:
    call, frame = begin(caller, CallOptions(codec="msgpack"))
    assert msgspec.msgpack.decode(frame.body)["params"] == [1]
    (done,) = caller.take([reply(call, b"\x00\xff")])
    assert done.result() == b"\x00\xff"


def test_a_notification_waits_for_a_receipt(caller: Caller) -> None:
    for codec in ("json", "msgpack"):
        call, frame = begin(caller, CallOptions(codec=codec), NOTIFICATION)
        assert frame.headers["receipt"] == call.call_id
        assert {"reply-to", "correlation-id"}.isdisjoint(frame.headers)
        assert caller.take([Frame("RECEIPT", {"receipt-id": call.call_id})]) == [call]
        assert call.result() is None


def test_a_name_that_cannot_be_sent_is_no_call(caller: Caller) -> None:
    with pytest.raises(TypeError):
        caller.open(object(), b"[]", CallOptions(), 0.0, 0.0, CALL)  # type: ignore[arg-type]
    assert len(caller.calls) == 0


class Served:
    """A request behind a context."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def is_unwanted(self, wall: float) -> bool:
        return wall > 0


@contextmanager
def serving(headers: Mapping[str, str]) -> Iterator[None]:
    """Be in a function that serves a call with these headers."""
    context = Context("other", "method", Served(headers), lambda: 0.0)
    token = CURRENT.set(context)
    try:
        yield
    finally:
        CURRENT.reset(token)


def test_the_trace_of_the_call_being_served_is_handed_on(caller: Caller) -> None:
    trace = {"traceparent": "00-a-b-01", "tracestate": "x=1"}
    with serving(trace | {"colour": "red"}):
        _, frame = begin(caller)
        assert trace.items() <= frame.headers.items()
        assert "colour" not in frame.headers
        _, frame = begin(caller, CallOptions(headers={"traceparent": "own"}))
        assert frame.headers["traceparent"] == "own"
        assert "tracestate" not in frame.headers
    with serving({}):
        _, frame = begin(caller)
        assert "traceparent" not in frame.headers


# Given up


def test_a_call_that_is_given_up_is_cancelled_once(caller: Caller) -> None:
    call, _ = begin(caller)
    frame = frame_of(caller.give_up(call))
    assert frame.headers == {
        "destination": "/topic/rpc.demo",
        "content-type": "application/json",
        "persistent": "false",
        "content-length": str(len(frame.body)),
    }
    assert JSON.decode(frame.body) == {
        "jsonrpc": "2.0",
        "method": "rpc.cancel",
        "params": {"id": call.call_id},
    }
    assert caller.give_up(call) == b""
    assert caller.take([reply(call)]) == []
    assert caller.stats(1).late == 1


def test_what_no_worker_has_is_not_cancelled(caller: Caller) -> None:
    answered, _ = begin(caller)
    caller.take([reply(answered)])
    expired, _ = begin(caller)
    caller.calls.expire(1000.0)
    told, _ = begin(caller, kind=NOTIFICATION)
    assert [caller.give_up(call) for call in (answered, expired, told)] == [b""] * 3


# Several results


def test_a_batch_is_one_message(caller: Caller) -> None:
    options = CallOptions()
    call = caller.open("whee", b"[{},{}]", options, 100.0, 1000.0, batch_of(2))
    frame = frame_of(call.data)
    assert frame.body == b"[{},{}]"
    assert frame.headers["correlation-id"] == call.call_id
    body = JSON.batch([JSON.result_body("1", "b"), JSON.result_body("0", "a")])
    (done,) = caller.take([Frame("MESSAGE", {"correlation-id": call.call_id}, body)])
    assert done.result() == ["a", "b"]


def test_a_broadcast_goes_to_the_topic_and_is_over_with_the_first(caller: Caller) -> None:
    call, frame = begin(caller, kind=broadcast(2, 1.0))
    assert frame.headers["destination"] == "/topic/rpc.demo"
    assert frame.headers["persistent"] == "false"
    assert frame.headers["reply-to"] == REPLIES
    assert caller.take([reply(call, 1, worker="a")]) == []
    assert caller.take([reply(call, 2, worker="b"), reply(call, 3, worker="c")]) == [call]
    assert [(each.worker, each.result()) for each in call.result()] == [("a", 1), ("b", 2)]
    assert caller.stats(1).late == 1


def test_a_broadcast_ends_at_its_deadline_with_what_came(caller: Caller) -> None:
    call, _ = begin(caller, kind=broadcast(None, 1.0))
    caller.take([reply(call, 1, worker="a")])
    assert caller.calls.expire(1000.0) == [call]
    assert [each.worker for each in call.result()] == ["a"]


def test_a_broadcast_that_nobody_can_hear(caller: Caller) -> None:
    call, frame = begin(caller, CallOptions(no_worker="fail"), broadcast(1, 1.0))
    assert frame.headers["mandatory"] == "true"
    assert caller.take([reply(call, returned="no-consumer")]) == [call]
    with pytest.raises(ServiceUnavailable, match="demo"):
        call.result()


def test_a_broadcast_whose_connection_breaks(caller: Caller) -> None:
    call, _ = begin(caller, kind=broadcast(None, 1.0))
    caller.take([reply(call, 1)])
    assert caller.calls.interrupt(ConnectionLost("gone", sent=True), lambda place: True) == [call]
    with pytest.raises(ConnectionLost):
        call.result()


# Streams


def begin_stream(caller: Caller, **options: Any) -> Items:
    chosen = CallOptions(**options)
    call, frame = begin(caller, chosen, stream(chosen))
    assert frame.headers["stream-credit"] == str(chosen.credit)
    assert isinstance(call, Items)
    return call


def test_credit_is_renewed_when_half_of_it_is_used(caller: Caller) -> None:
    items = begin_stream(caller, credit=4)
    for number in range(4):
        assert caller.take([reply(items, number, stream_seq=str(number))]) == [items]
    assert items.next() == 0
    assert caller.renew(items) == b""
    assert items.next() == 1
    frame = frame_of(caller.renew(items))
    assert frame.headers["destination"] == "/topic/rpc.demo"
    assert JSON.decode(frame.body)["method"] == "rpc.credit"
    assert JSON.decode(frame.body)["params"] == {"id": items.call_id, "credit": 2}
    assert caller.renew(items) == b""


def test_a_streams_deadline_is_for_each_item_that_is_waited_for(caller: Caller) -> None:
    items = begin_stream(caller, timeout=5.0, codec="msgpack")
    assert "expires:1005000\n" in items.data.decode(errors="replace")
    assert caller.calls.next_deadline() is None
    items.expect(200.0)
    assert caller.calls.next_deadline() == 205.0
    caller.take([reply(items, "a", stream_seq="0")])
    assert caller.calls.next_deadline() is None
    items.expect(300.0)  # something is there
    assert (items.done, caller.calls.next_deadline()) == (True, None)
    assert items.next() == "a"
    items.expect(400.0)
    assert not items.done
    assert caller.calls.expire(405.0) == [items]
    with pytest.raises(Timeout, match=r"No item of 'whee' within 5.0 s"):
        items.next()
    assert frame_of(caller.give_up(items)).headers["destination"] == "/topic/rpc.demo"
    assert caller.give_up(items) == b""


def test_a_stream_does_not_outlive_its_connection(caller: Caller) -> None:
    items = begin_stream(caller, on_loss="resend")
    caller.take([reply(items, "a", stream_seq="0")])
    lost = ConnectionLost("gone", sent=True)
    assert caller.calls.interrupt(lost, lambda place: True) == [items]
    assert items.next() == "a"  # it had come
    with pytest.raises(ConnectionLost):
        items.next()
    assert caller.give_up(items) == b""
