"""Requests and replies as they travel."""

import json
from typing import Any

import pytest

from rpc.errors import (
    CODES,
    ErrorReply,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    ParseError,
    RemoteError,
)
from rpc.message import (
    call_body,
    decode,
    encode,
    error_body,
    has_expired,
    read_reply,
    reply_headers,
    reply_queue,
    request_headers,
    request_queue,
    result_body,
)


def test_a_request_is_json_rpc() -> None:
    body = call_body(b"c-1", b'"whee"', encode(["Hello"]))
    assert json.loads(body) == {
        "jsonrpc": "2.0",
        "method": "whee",
        "params": ["Hello"],
        "id": "c-1",
    }


def test_queues() -> None:
    assert request_queue("demo") == "/queue/rpc.demo"
    assert reply_queue("u1") == "/queue/rpc.reply.u1"


@pytest.mark.parametrize("service", ["", "a b", "a/b", "a:b", "ä", ".a", "a\n"])
def test_a_service_name_that_could_not_be_a_queue(service: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        request_queue(service)


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


def test_a_reply_copies_what_the_request_says_about_it() -> None:
    request = {
        "destination": "/queue/rpc.demo",
        "reply-to": "/queue/r",
        "correlation-id": "c-1",
        "expires": "1000",
        "persistent": "false",
        "priority": "7",
    }
    assert reply_headers(request) == {
        "destination": "/queue/r",
        "content-type": "application/json",
        "correlation-id": "c-1",
        "expires": "1000",
        "persistent": "false",
    }


def test_a_reply_invents_nothing() -> None:
    assert reply_headers({"reply-to": "/queue/r"}) == {
        "destination": "/queue/r",
        "content-type": "application/json",
    }


@pytest.mark.parametrize("headers", [{}, {"reply-to": ""}, {"correlation-id": "c"}])
def test_no_reply_to_means_no_reply(headers: dict[str, str]) -> None:
    assert reply_headers(headers) is None


@pytest.mark.parametrize(
    ("expires", "expired"),
    [
        ("99999", True),
        ("100000", True),
        ("100001", False),
        ("0", False),
        ("", False),
        ("soon", False),
        ("-1", False),
        ("²", False),
    ],
)
def test_a_deadline_counts_milliseconds_and_0_is_none(expires: str, expired: bool) -> None:
    assert has_expired({"expires": expires}, 100.0) is expired


def test_without_a_deadline_nothing_expires() -> None:
    assert not has_expired({}, 1e12)
    assert not has_expired({"expires": "9" * 5000}, 1e12)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1.5, "", "grüß 🐎 \x00\n", [1, [2]], {"a": {"b": None}}, "\ud800", 10**30],
)
def test_what_json_can_express_arrives_as_it_was(value: Any) -> None:
    assert decode(encode(value)) == value
    assert read_reply(result_body("c-1", value)) == value


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), float("nan"), float("inf")])
def test_what_json_cannot_express_is_refused_where_it_is_written(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode(value)


def test_too_deep_is_an_error_like_any_other() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        encode(value)
    while value:  # or taking it apart would overflow the stack
        value = value.pop()
    with pytest.raises(ValueError, match="nested too deeply"):
        decode(b"[" * 100_000)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b"{} {}"])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the json module's many texts
        decode(body)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-32700, ParseError),
        (-32600, InvalidRequest),
        (-32601, MethodNotFound),
        (-32602, InvalidParams),
        (-32603, ErrorReply),
        (-32000, RemoteError),
        (-32042, ErrorReply),
        (7, ErrorReply),
    ],
)
def test_an_error_code_becomes_its_exception(code: int, kind: type[ErrorReply]) -> None:
    body = encode({"jsonrpc": "2.0", "error": {"code": code, "message": "no"}, "id": "c"})
    with pytest.raises(ErrorReply, match="no") as raised:
        read_reply(body)
    assert type(raised.value) is kind
    assert raised.value.code == code


def test_every_code_is_listed_once() -> None:
    assert len(CODES) == 6
    assert all(kind.code == code for code, kind in CODES.items())


def test_a_remote_error_carries_type_message_and_traceback() -> None:
    error = RemoteError(
        "KeyError: 'a'", {"type": "KeyError", "message": "'a'", "traceback": "Traceback…"}
    )
    with pytest.raises(RemoteError) as raised:
        read_reply(error_body("c", error))
    got = raised.value
    assert (got.type, got.message, got.traceback) == ("KeyError", "'a'", "Traceback…")
    assert str(got) == "KeyError: 'a'"


def test_a_remote_error_of_another_language_needs_no_data() -> None:
    with pytest.raises(RemoteError) as raised:
        read_reply(b'{"jsonrpc":"2.0","error":{"code":-32000,"message":"boom"},"id":1}')
    got = raised.value
    assert (got.type, got.message, got.traceback, got.data) == ("Exception", "boom", None, None)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'{"error":"no"}', b'{"error":{}}', b'{"error":{"code":"x"}}'],
)
def test_what_is_no_reply_is_an_error_and_not_a_result(body: bytes) -> None:
    with pytest.raises(ErrorReply, match="The reply is no"):
        read_reply(body)
