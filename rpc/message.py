"""A call and its reply as they travel: JSON-RPC 2.0 in the body, a few STOMP headers around it.

What is on the wire, so that any STOMP client can take either side::

    SEND                                            SEND
    destination:/queue/rpc.demo                     destination:/queue/rpc.reply.9f3a…
    content-type:application/json                   content-type:application/json
    reply-to:/queue/rpc.reply.9f3a…                 correlation-id:9f3a-1
    correlation-id:9f3a-1                           expires:1767225600000
    expires:1767225600000                           persistent:true
    persistent:true

    {"jsonrpc":"2.0","method":"whee",               {"jsonrpc":"2.0","result":{"Whee":123},
     "params":["Hello"],"id":"9f3a-1"}               "id":"9f3a-1"}

- `correlation-id` equals the body's `id`: replies are matched to calls without reading the body;
- `expires` is the caller's deadline in milliseconds since 1970; the broker hands neither an expired
  request to a worker nor an expired reply to anyone. Absent: the caller waits for ever;
- `persistent` is always written, because brokers differ in what its absence means; a reply is kept
  as safely as its request asked for, and lives no longer;
- no `reply-to`, or no `id`, means that nobody wants an answer;
- `mandatory:true` (hoofbeat): with no worker there the broker sends the request itself to its `reply-to`,
  with `returned:no-consumer`;
- `dedup-id` (hoofbeat): a request that is sent again because its connection broke is kept once.

Pure: text and bytes, no sockets, threads or clocks. Never pickle.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rpc.errors import CODES, ErrorReply

CONTENT_TYPE = "application/json"

#: A service's name becomes part of a queue's name; these need no escape in any version of STOMP.
SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

# What JSON (RFC 8259) cannot express is refused here and not on the other side: no NaN, no sets.
# Circles are found by the depth they reach, which costs nothing as long as there are none.
_encoder = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)
_ascii_encoder = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def request_queue(service: str) -> str:
    """Return the queue on which a service takes its calls.

    Raises `ValueError` unless the name is made of letters, digits, `_`, `.` and `-`.
    """
    if not SERVICE.fullmatch(service):
        raise ValueError(
            f"A service's name is made of letters, digits, '_', '.' and '-', not {service!r}"
        )
    return f"/queue/rpc.{service}"


def reply_queue(unique: str) -> str:
    """Return the queue on which the one client called `unique` takes its replies."""
    return f"/queue/rpc.reply.{unique}"


def encode(value: Any) -> bytes:
    """Write a value as compact JSON in UTF-8.

    Raises `TypeError` or `ValueError` for what JSON cannot express.
    """
    try:
        return _encoder.encode(value).encode()
    except UnicodeEncodeError:  # half of a surrogate pair: JSON has it, UTF-8 has not
        return _ascii_encoder.encode(value).encode()
    except RecursionError:
        raise ValueError("nested too deeply for JSON, or in a circle") from None


def decode(body: bytes) -> Any:
    """Read JSON in UTF-8. Raises `ValueError` for anything else."""
    try:
        return _decoder.decode(body.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def call_body(call_id: bytes, method: bytes, params: bytes) -> bytes:
    """Return the body of a request; `call_id` must need no escape in JSON.

    `method` and `params` are encoded already: a client knows that a call can be written before it opens it.
    """
    return b'{"jsonrpc":"2.0","method":%b,"params":%b,"id":"%b"}' % (method, params, call_id)


def notification_body(method: bytes, params: bytes) -> bytes:
    """Return the body of a request that wants no reply."""
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (method, params)


def result_body(call_id: Any, result: Any) -> bytes:
    """Return the body of a good reply. Raises as `encode` does."""
    return b'{"jsonrpc":"2.0","result":%b,"id":%b}' % (encode(result), encode(call_id))


def error_body(call_id: Any, error: ErrorReply) -> bytes:
    """Return the body of a reply that carries an error; `error.data` must be fit for JSON."""
    told: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.data is not None:
        told["data"] = error.data
    return encode({"jsonrpc": "2.0", "error": told, "id": call_id})


def read_reply(body: bytes) -> Any:
    """Return the result that a reply carries, or raise the error that it carries.

    Raises one of `CODES`, or `ErrorReply` for another code and for a body that is no reply at all.
    """
    try:
        reply = decode(body)
    except ValueError as error:
        raise ErrorReply(f"The reply is not JSON: {error}") from None
    if isinstance(reply, dict):
        if "result" in reply:
            return reply["result"]
        told = reply.get("error")
        if isinstance(told, dict):
            code, text = told.get("code"), str(told.get("message", ""))
            if isinstance(code, int):
                raise CODES.get(code, ErrorReply)(text, told.get("data"), code)
    raise ErrorReply("The reply is no JSON-RPC 2.0 response")


def request_headers(
    destination: str, reply_to: str | None, *, durable: bool, mandatory: bool = False
) -> dict[str, str]:
    """Return the headers that all requests of a kind have in common; without `reply_to`: notifications."""
    headers = {"destination": destination, "content-type": CONTENT_TYPE}
    if reply_to is not None:
        headers["reply-to"] = reply_to
    if mandatory:
        headers["mandatory"] = "true"
    return headers | {"persistent": "true" if durable else "false"}


def reply_headers(request: dict[str, str]) -> dict[str, str] | None:
    """Return the headers of the reply to a request with these headers; None if none is wanted."""
    reply_to = request.get("reply-to")
    if not reply_to:
        return None
    headers = {"destination": reply_to, "content-type": CONTENT_TYPE}
    for name in ("correlation-id", "expires", "persistent"):
        if name in request:
            headers[name] = request[name]
    return headers


def has_expired(request: dict[str, str], now: float) -> bool:
    """Tell whether a request's deadline has passed at `now` (seconds since 1970)."""
    expires = request.get("expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 18):  # no date, or for ever
        return False
    return 0 < int(expires) <= now * 1000
