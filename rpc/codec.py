"""How values, requests and replies are written: JSON, or the same objects in MessagePack.

Both sides of a call speak the codec that the request's `content-type` names (`codec_for`). What neither
can express is refused where it is written, and what is read is plain data: dicts, lists, text, numbers, with
MessagePack also bytes and moments. Never pickle: a body must not be able to run anything.

Knows JSON-RPC 2.0's objects; no STOMP, sockets, threads or clocks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from rpc.errors import CODES, ErrorReply


class Codec:
    """One way to write values. `JSON` and `MSGPACK` are the two there are."""

    __slots__ = ()

    name: str  #: as options call it
    content_type: str  #: as headers call it
    title: str  #: as sentences call it
    # Requests and results are put together of parts that are encoded already.
    _call: bytes
    _notification: bytes
    _result: bytes

    def encode(self, value: Any) -> bytes:
        """Write a value.

        Besides what the format has itself: dataclasses, `msgspec.Struct`s, enums, sets, `datetime`s,
        `UUID`s and `Decimal`s, as msgspec writes them. Raises `TypeError` or `ValueError` for what
        cannot be expressed.
        """
        raise NotImplementedError

    def decode(self, body: bytes) -> Any:
        """Read one value. Raises `ValueError` for what is none, is followed by more, or is too deep."""
        raise NotImplementedError

    def call_body(self, call_id: bytes, method: bytes, params: bytes) -> bytes:
        """Return the body of a request; `call_id` is text that must need no escape in JSON.

        `method` and `params` are encoded already: a client knows that a call can be written before it
        opens it.
        """
        raise NotImplementedError

    def batch(self, bodies: Sequence[bytes]) -> bytes:
        """Return one body for several requests or responses (JSON-RPC 2.0, section 6)."""
        raise NotImplementedError

    def notification_body(self, method: bytes, params: bytes) -> bytes:
        """Return the body of a request that wants no reply; `method` and `params` are encoded."""
        return self._notification % (method, params)

    def result_body(self, call_id: Any, result: Any) -> bytes:
        """Return the body of a good reply. Raises as `encode` does."""
        return self._result % (self.encode(result), self.encode(call_id))

    def error_body(self, call_id: Any, error: ErrorReply) -> bytes:
        """Return the body of a reply that carries an error. Raises as `encode` does, for `error.data`."""
        told: dict[str, Any] = {"code": error.code, "message": str(error)}
        if error.data is not None:
            told["data"] = error.data
        return self.encode({"jsonrpc": "2.0", "error": told, "id": call_id})

    def read_reply(self, body: bytes) -> Any:
        """Return the result that a reply carries, or raise the error that it carries.

        Raises one of `CODES`, or `ErrorReply` for another code and for a body that is no reply at all.
        """
        return _outcome(self._reply(body))

    def read_batch(self, body: bytes) -> dict[Any, Any]:
        """Return what the reply to a batch says, by the requests' ids: results, and errors as `ErrorReply`s.

        Raises the error if the batch as a whole was refused, and `ErrorReply` for what is no reply.
        Errors in requests whose id could not be read are under None.
        """
        replies = self._reply(body)
        if not isinstance(replies, list):
            _outcome(replies)
            raise ErrorReply("The reply to a batch is no array")
        outcomes: dict[Any, Any] = {}
        for reply in replies:
            try:
                outcome = _outcome(reply)
            except ErrorReply as error:
                outcome = error
            call_id = reply.get("id") if isinstance(reply, dict) else None
            if not isinstance(call_id, str | int | float | None):
                raise ErrorReply(f"The reply has an id that is none: {call_id!r}")
            outcomes[call_id] = outcome
        return outcomes

    def _reply(self, body: bytes) -> Any:
        try:
            return self.decode(body)
        except ValueError as error:
            raise ErrorReply(f"The reply is not {self.title}: {error}") from None


def _outcome(reply: Any) -> Any:
    if isinstance(reply, dict):
        if "result" in reply:
            return reply["result"]
        told = reply.get("error")
        if isinstance(told, dict):
            code, text = told.get("code"), str(told.get("message", ""))
            if isinstance(code, int):
                error = CODES.get(code, ErrorReply)(text, told.get("data"), code)
                error.is_received = True
                raise error
    raise ErrorReply("The reply is no JSON-RPC 2.0 response")


# What a subclass of a number or of a text (Django's SafeString, for one) is to those who read it.
_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
}


def _plain(value: Any) -> Any:
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    raise TypeError(f"an object of type {type(value).__qualname__} cannot be sent")


_TOO_DEEP = "nested too deeply, or in a circle"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class _Json(Codec):
    """JSON (RFC 8259) in UTF-8, strictly: no NaN. Integers of any size, and half surrogate pairs, survive.

    msgspec's coder is several times quicker than the standard library's and does nearly the same. What it
    refuses, or might have glossed over, the library's decides.
    """

    __slots__ = ()

    name = "json"
    content_type = "application/json"
    title = "JSON in UTF-8"
    _call = b'{"jsonrpc":"2.0","method":%b,"params":%b,"id":"%b"}'
    _notification = b'{"jsonrpc":"2.0","method":%b,"params":%b}'
    _result = b'{"jsonrpc":"2.0","result":%b,"id":%b}'

    def encode(self, value: Any) -> bytes:
        try:
            data = _quick_encode(value)
        except (TypeError, ValueError):
            pass
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        else:
            if type(value) is str or value is None or not _find_null(data):
                return data  # else one may have been NaN
        try:
            return _encoder.encode(value).encode()
        except UnicodeEncodeError:  # half of a surrogate pair: JSON has it, UTF-8 has not
            return _ascii_encoder.encode(value).encode()
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None

    def decode(self, body: bytes) -> Any:
        try:
            return _quick_decode(body)
        except ValueError:
            pass
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        try:
            return _decoder.decode(body.decode())
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None

    def call_body(self, call_id: bytes, method: bytes, params: bytes) -> bytes:
        return self._call % (method, params, call_id)

    def batch(self, bodies: Sequence[bytes]) -> bytes:
        return b"[%b]" % b",".join(bodies)


_find_null = re.compile(b"null").search  # twice as quick as `in`
_quick_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_quick_decode = msgspec.json.Decoder().decode
_to_builtins = partial(msgspec.to_builtins, enc_hook=_plain)
# Circles are found by the depth they reach, which costs nothing as long as there are none.
_encoder = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    separators=(",", ":"),
    default=_to_builtins,
)
_ascii_encoder = json.JSONEncoder(
    check_circular=False, allow_nan=False, separators=(",", ":"), default=_to_builtins
)
_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


class _Msgpack(Codec):
    """MessagePack. Besides JSON's values: bytes, NaN, keys of any kind; integers have 64 bits at most."""

    __slots__ = ()

    name = "msgpack"
    content_type = "application/msgpack"
    title = "MessagePack"
    # A map of so many pairs (0x80 + n), and texts of so many bytes (0xa0 + n).
    _call = b"\x84\xa7jsonrpc\xa32.0\xa6method%b\xa6params%b\xa2id%b"
    _notification = b"\x83\xa7jsonrpc\xa32.0\xa6method%b\xa6params%b"
    _result = b"\x83\xa7jsonrpc\xa32.0\xa6result%b\xa2id%b"

    def encode(self, value: Any) -> bytes:
        try:
            return _pack(value)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        except OverflowError as error:
            raise ValueError(str(error)) from None

    def decode(self, body: bytes) -> Any:
        try:
            return _unpack(body)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        except MemoryError:  # a few bytes may announce any number of elements
            raise ValueError("announces more than there is memory for") from None

    def call_body(self, call_id: bytes, method: bytes, params: bytes) -> bytes:
        return self._call % (method, params, _pack(call_id.decode()))

    def batch(self, bodies: Sequence[bytes]) -> bytes:
        return _pack([msgspec.Raw(body) for body in bodies])


_pack = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_unpack = msgspec.msgpack.Decoder().decode


class _Unknown(_Json):
    """What a content-type that nobody knows leads to: a body that cannot be read, and answers in JSON."""

    __slots__ = ("_type",)

    def __init__(self, content_type: str) -> None:
        self._type = content_type

    title = "application/json or application/msgpack"

    def decode(self, body: bytes) -> Any:
        raise ValueError(f"its content-type is {self._type!r}")


JSON: Codec = _Json()
MSGPACK: Codec = _Msgpack()

#: name -> codec
CODECS: Mapping[str, Codec] = {codec.name: codec for codec in (JSON, MSGPACK)}

# A curious user's client may call JSON text.
_TYPES: dict[str, Codec] = {
    JSON.content_type: JSON,
    "application/json-rpc": JSON,
    "application/jsonrequest": JSON,
    "text/json": JSON,
    "text/plain": JSON,
    MSGPACK.content_type: MSGPACK,
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
}


def codec_named(name: str) -> Codec:
    """Return the codec of that name. Raises `ValueError` for another than "json" and "msgpack"."""
    codec = CODECS.get(name)
    if codec is None:
        raise ValueError(f"A codec is {' or '.join(CODECS)}, not {name!r}")
    return codec


def codec_for(content_type: str | None) -> Codec:
    """Return the codec that a message's `content-type` asks for; without one: JSON.

    For a type that is not known it returns a codec to which every body is a `ValueError` that says what
    would be right, and which answers in JSON.
    """
    if not content_type:
        return JSON
    codec = _TYPES.get(content_type)
    if codec is None:
        kind = content_type.partition(";")[0].strip().lower()
        codec = _TYPES.get(kind) or _Unknown(content_type)
    return codec
