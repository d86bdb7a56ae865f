"""Every way a remote call can end other than with a result, and the code each has on the wire.

Families, by who noticed:

- the worker answered with an error: `ErrorReply` and its subclasses, one per JSON-RPC code (`CODES`);
- the broker had no worker to hand the call to: `ServiceUnavailable`;
- nobody answered in time: `Timeout`;
- the way to the broker broke: `ConnectionLost`, which says whether the call was sent before.

All of them are `RpcError`. A call that could not even be written down (an argument that JSON cannot
express) is the caller's own `TypeError` or `ValueError` and is not of this family: nothing was sent.

This file knows no wire format beyond the numbers of JSON-RPC 2.0, section 5.1.
"""

from __future__ import annotations

from typing import Any


class RpcError(Exception):
    """Anything that kept a remote call from giving its result."""


class Timeout(RpcError, TimeoutError):  # the name that callers read best
    """No reply came within the call's timeout.

    The function may have run, may be running, or may still be waiting in the queue; the broker drops
    a request whose deadline has passed (`expires`), and a reply that comes later is counted and dropped.
    """


class ConnectionLost(RpcError, ConnectionError):
    """The connection to the broker is gone, could not be made, or was closed by this program.

    `sent` is False only if the request certainly never left: then calling again is always safe. True
    means that it was, or may have been, handed over, and the function may have run or will yet run.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class BrokerRefused(ConnectionLost):
    """The broker answered with an ERROR frame; `reason` holds its words.

    At CONNECT that is a wrong login or an unknown virtual host, later a destination that may not be
    used or a full store. The link ends with it (STOMP 1.2, "ERROR"), so every pending call does too.
    """


class ServiceUnavailable(RpcError):
    """No worker of the service is connected, and the call was not to wait for one (`no_worker="fail"`).

    The broker gave the call back at once; nobody has run it or will.
    """


class Cancelled(RpcError):
    """The caller gave the call up before it was answered; the function may have run."""


class ErrorReply(RpcError):
    """A worker answered with an error. Raised as itself only for a code that `CODES` does not know.

    `code` is the JSON-RPC error code, `message` the worker's one-line text and `data` whatever else
    the worker sent, as JSON gave it.
    """

    code = -32603  # "internal error": the worker failed outside the function

    def __init__(self, message: str, data: Any = None, code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        if code is not None:
            self.code = code


class ParseError(ErrorReply):
    """The worker received a body that is not JSON in UTF-8."""

    code = -32700


class InvalidRequest(ErrorReply):
    """The worker received JSON that is no JSON-RPC 2.0 request."""

    code = -32600


class MethodNotFound(ErrorReply):
    """The worker has no function of that name. Told at once, the call does not run into its timeout."""

    code = -32601


class InvalidParams(ErrorReply):
    """The arguments do not fit the function's signature; the function was not run."""

    code = -32602


class RemoteError(ErrorReply):
    """The function ran and raised an exception.

    `type` is the exception's class name, `message` its text; `traceback` is the worker's traceback as
    text if the worker was told to send it (`Worker(tracebacks=True)`), else None.
    """

    code = -32000

    def __init__(self, message: str, data: Any = None, code: int | None = None) -> None:
        super().__init__(message, data, code)
        details = data if isinstance(data, dict) else {}
        self.type: str = str(details.get("type", "Exception"))
        self.message = str(details.get("message", message))
        traceback = details.get("traceback")
        self.traceback: str | None = None if traceback is None else str(traceback)


#: JSON-RPC error code -> what the caller gets. A code that is not listed raises `ErrorReply`.
CODES: dict[int, type[ErrorReply]] = {
    kind.code: kind
    for kind in (ErrorReply, ParseError, InvalidRequest, MethodNotFound, InvalidParams, RemoteError)
}
