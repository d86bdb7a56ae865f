"""What is written arrives, in both codecs, and what cannot be is refused where it is written."""

import contextlib
import datetime
import enum
import json
import math
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.codec import CODECS, JSON, MSGPACK, Codec, codec_for, codec_named
from rpc.errors import (
    CODES,
    ErrorReply,
    Forbidden,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    Overloaded,
    ParseError,
    RemoteError,
    RemoteTimeout,
    Timeout,
)

both = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


@both
def test_a_request_is_json_rpc(codec: Codec) -> None:
    name, params = codec.encode("whee"), codec.encode(["Hello"])
    notification = {"jsonrpc": "2.0", "method": "whee", "params": ["Hello"]}
    assert codec.decode(codec.notification_body(name, params)) == notification
    assert codec.decode(codec.call_body(b"c-1", name, params)) == notification | {"id": "c-1"}


def test_json_is_compact_and_readable() -> None:
    assert JSON.call_body(b"c-1", JSON.encode("grüß"), JSON.encode([1, {"a": None}])) == (
        '{"jsonrpc":"2.0","method":"grüß","params":[1,{"a":null}],"id":"c-1"}'.encode()
    )


# Which codec


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        (None, JSON),
        ("", JSON),
        ("application/json", JSON),
        ("application/json;charset=utf-8", JSON),
        ("Application/JSON ; charset=utf-8", JSON),
        ("application/json-rpc", JSON),
        ("text/plain", JSON),
        ("application/msgpack", MSGPACK),
        ("application/x-msgpack", MSGPACK),
    ],
)
def test_a_content_type_chooses(content_type: str | None, codec: Codec) -> None:
    assert codec_for(content_type) is codec


def test_a_content_type_that_nobody_knows_says_what_would_be_right() -> None:
    codec = codec_for("text/xml")
    with pytest.raises(ErrorReply) as raised:
        codec.read_reply(b"{}")
    text = str(raised.value)
    assert "application/json or application/msgpack" in text
    assert "'text/xml'" in text
    assert codec.encode([1]) == b"[1]"
    assert codec.content_type == "application/json"


def test_a_name_chooses() -> None:
    assert codec_named("json") is JSON
    assert codec_named("msgpack") is MSGPACK
    with pytest.raises(ValueError, match="json or msgpack"):
        codec_named("pickle")


# Values


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -1.5, "", "null", "grüß 🐎 \x00\n", "\ud800", ["\ud800", None], 10**30),
        *([1, [2]], {"a": {"b": None}}, -(2**63), 2**64 - 1, 5e-324, 1e16),
    ],
)
def test_what_json_can_express_arrives_as_it_was(value: Any) -> None:
    assert JSON.decode(JSON.encode(value)) == value
    assert JSON.read_reply(JSON.result_body("c-1", value)) == value


@pytest.mark.parametrize("value", [None, {1: "a", None: [b"\xff"]}, 2**64 - 1, math.inf, b""])
def test_what_messagepack_can_express_arrives_as_it_was(value: Any) -> None:
    assert MSGPACK.decode(MSGPACK.encode(value)) == value
    assert MSGPACK.read_reply(MSGPACK.result_body("c-1", value)) == value


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    # JSON's -0 is the integer 0 to one reader and -0.0 to another; nobody can tell them apart by ==
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@both
@given(value=plain)
def test_values_survive_the_way(codec: Codec, value: Any) -> None:
    assert codec.decode(codec.encode(value)) == value
    body = codec.result_body("c", value)
    assert codec.read_reply(body) == value
    assert codec.read_batch(codec.batch([body])) == {"c": value}


@given(value=plain | st.floats() | st.lists(st.floats()))
def test_json_is_what_the_standard_library_reads_and_writes(value: Any) -> None:
    try:
        theirs = json.dumps(value, allow_nan=False)
    except ValueError:
        with pytest.raises(ValueError, match="JSON"):
            JSON.encode(value)
        return
    assert json.loads(JSON.encode(value)) == value
    assert JSON.decode(theirs.encode()) == value


@given(body=st.binary() | st.text('[]{}",:0123456789.-+eEnulltrfas\\ud8\n ').map(str.encode))
def test_json_is_read_as_strictly_as_the_standard_library_does(body: bytes) -> None:
    try:
        theirs = json.loads(body.decode(), parse_constant=lambda name: int(name))
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011  # many texts
            JSON.decode(body)
    else:
        assert JSON.decode(body) == theirs


@both
@given(body=st.binary())
def test_any_bytes_are_a_value_or_a_value_error(codec: Codec, body: bytes) -> None:
    with contextlib.suppress(ValueError):
        codec.decode(body)


@dataclass
class Point:
    x: int
    note: str | None = None


class Struct(msgspec.Struct):
    when: datetime.date


class Colour(enum.Enum):
    RED = "red"


class Safe(str):
    """Text of a framework's own kind."""

    __slots__ = ()

    def __str__(self) -> str:
        return "somebody else's"


class Meters(float):
    """A number of somebody's own kind."""


@both
@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Point(1), {"x": 1, "note": None}),
        (Point(1, "n"), {"x": 1, "note": "n"}),
        ([Point(1)], [{"x": 1, "note": None}]),
        (Struct(datetime.date(2026, 1, 2)), {"when": "2026-01-02"}),
        (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (Colour.RED, "red"),
        ({1}, [1]),
        ((1, (2,)), [1, [2]]),
        ([Safe("a"), None], ["a", None]),
        (Safe("a"), "a"),
        (Meters(1.5), 1.5),
    ],
)
def test_what_a_program_has_is_written_as_plain_data(
    codec: Codec, value: Any, arrives: Any
) -> None:
    assert codec.decode(codec.encode(value)) == arrives


def test_bytes_are_base64_in_json_and_themselves_in_messagepack() -> None:
    assert JSON.decode(JSON.encode(b"abc")) == "YWJj"
    assert JSON.decode(JSON.encode([None, b"abc"])) == [None, "YWJj"]
    assert MSGPACK.decode(MSGPACK.encode(b"abc")) == b"abc"


@both
@pytest.mark.parametrize(
    "value",
    [object(), [object()], 1j, print, iter(()), {"a": [None, {"b": object()}]}],
)
def test_an_object_that_is_no_data_is_a_type_error(codec: Codec, value: Any) -> None:
    with pytest.raises(TypeError):
        codec.encode(value)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, [-math.inf], {"a": [math.nan, "null"]}, Point(math.nan)],  # type: ignore[arg-type]
)
def test_json_has_no_such_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        JSON.encode(value)


@pytest.mark.parametrize("value", [10**30, -(2**63) - 1, "\ud800"])
def test_messagepack_has_no_such_values(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # msgspec's texts
        MSGPACK.encode(value)


@both
def test_too_deep_is_an_error_like_any_other(codec: Codec) -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        codec.encode(value)
    while value:  # or taking it apart would overflow the stack
        value = value.pop()
    circle: list[Any] = [None]
    circle.append(circle)
    with pytest.raises(ValueError, match="circle"):
        codec.encode(circle)


@pytest.mark.parametrize(
    ("codec", "bomb"),
    [
        (JSON, b"[" * 100_000),
        (JSON, b'{"a":' * 100_000),
        (MSGPACK, b"\x91" * 100_000),
        (MSGPACK, b"\x81\xa1a" * 100_000),
        (MSGPACK, b"\xdd\xff\xff\xff\xff" * 10_000),  # each: an array of four thousand millions
    ],
)
def test_a_bomb_is_a_value_error(codec: Codec, bomb: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        codec.decode(bomb)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b"{} {}", b"1\0"])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the json module's many texts
        JSON.decode(body)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91", b"\x01\x02", b"\xa1\xff", b"\x81\x80\x01"])
def test_what_is_no_messagepack(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        MSGPACK.decode(body)


# Replies


@both
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-32700, ParseError),
        (-32600, InvalidRequest),
        (-32601, MethodNotFound),
        (-32602, InvalidParams),
        (-32603, ErrorReply),
        (-32000, RemoteError),
        (-32001, Overloaded),
        (-32002, RemoteTimeout),
        (-32003, Forbidden),
        (-32042, ErrorReply),
        (7, ErrorReply),
    ],
)
def test_an_error_code_becomes_its_exception(
    codec: Codec, code: int, kind: type[ErrorReply]
) -> None:
    body = codec.encode({"jsonrpc": "2.0", "error": {"code": code, "message": "no"}, "id": "c"})
    with pytest.raises(ErrorReply, match="no") as raised:
        codec.read_reply(body)
    assert type(raised.value) is kind
    assert raised.value.code == code
    with pytest.raises(kind, match="no"):
        codec.read_reply(codec.error_body("c", raised.value))


def test_every_code_is_listed_once() -> None:
    assert len(CODES) == 9
    assert all(kind.code == code for code, kind in CODES.items())


@both
def test_a_remote_error_carries_type_message_and_traceback(codec: Codec) -> None:
    error = RemoteError(
        "KeyError: 'a'", {"type": "KeyError", "message": "'a'", "traceback": "Traceback…"}
    )
    with pytest.raises(RemoteError) as raised:
        codec.read_reply(codec.error_body("c", error))
    got = raised.value
    assert (got.type, got.message, got.traceback) == ("KeyError", "'a'", "Traceback…")
    assert str(got) == "KeyError: 'a'"


def test_a_remote_error_of_another_language_needs_no_data() -> None:
    with pytest.raises(RemoteError) as raised:
        JSON.read_reply(b'{"jsonrpc":"2.0","error":{"code":-32000,"message":"boom"},"id":1}')
    got = raised.value
    assert (got.type, got.message, got.traceback, got.data) == ("Exception", "boom", None, None)


@both
def test_overload_says_when_to_come_again(codec: Codec) -> None:
    with pytest.raises(Overloaded, match="busy") as raised:
        codec.read_reply(codec.error_body("c", Overloaded("busy", retry_after=2.5)))
    assert raised.value.retry_after == 2.5


@pytest.mark.parametrize("data", [None, {}, 7, {"retry_after": "soon"}, {"retry_after": -1}])
def test_overload_of_another_worker_need_not_say_when(data: Any) -> None:
    assert Overloaded("busy", data).retry_after is None


def test_a_remote_timeout_is_a_timeout() -> None:
    with pytest.raises(Timeout, match="late") as raised:
        JSON.read_reply(JSON.error_body("c", RemoteTimeout("late")))
    assert isinstance(raised.value, TimeoutError)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'{"error":"no"}', b'{"error":{}}', b'{"error":{"code":"x"}}'],
)
def test_what_is_no_reply_is_an_error_and_not_a_result(body: bytes) -> None:
    with pytest.raises(ErrorReply, match="The reply is no"):
        JSON.read_reply(body)


# Batches


@both
def test_a_batch_is_answered_by_id_in_any_order(codec: Codec) -> None:
    bodies = [
        codec.result_body("b", [1]),
        codec.error_body("a", MethodNotFound("no such")),
        codec.error_body(None, InvalidRequest("what?")),
    ]
    got = codec.read_batch(codec.batch(bodies))
    assert list(got) == ["b", "a", None]
    assert got["b"] == [1]
    assert isinstance(got["a"], MethodNotFound)
    assert isinstance(got[None], InvalidRequest)
    assert codec.read_batch(codec.batch([])) == {}


@both
def test_a_batch_that_was_refused_raises_its_error(codec: Codec) -> None:
    with pytest.raises(Overloaded, match="busy"):
        codec.read_batch(codec.error_body(None, Overloaded("busy")))


@pytest.mark.parametrize("body", [b"", b"7", b'{"result":1,"id":1}', b'[{"result":1,"id":[]}]'])
def test_what_is_no_reply_to_a_batch(body: bytes) -> None:
    with pytest.raises(ErrorReply, match="The reply"):
        JSON.read_batch(body)


def test_what_is_no_reply_in_a_batch_spoils_no_other() -> None:
    got = JSON.read_batch(b'[7,{"result":1,"id":1}]')
    assert got[1] == 1
    assert isinstance(got[None], ErrorReply)
