"""Every way a remote call can end other than with a result, and the code each has on the wire.

Families, by who noticed:

- the worker answered with an error: `ErrorReply` and its subclasses, one per JSON-RPC code (`CODES`);
- the broker had no worker to hand the call to: `ServiceUnavailable`;
- nobody answered in time: `Timeout`;
- the way to the broker broke: `ConnectionLost`, which says whether the call was sent before.

All of them are `RpcError`. A call that could not even be written down (an argument that cannot be
expressed) is the caller's own `TypeError` or `ValueError` and is not of this family: nothing was sent.

This file knows no wire format beyond the numbers of JSON-RPC 2.0, section 5.1.
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard


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

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it pass between processes: a function that runs in another one may have met it."""
        return _make_lost, (type(self), self.reason, self.sent)


def _make_lost(kind: type[ConnectionLost], reason: str, sent: bool) -> ConnectionLost:
    return kind(reason, sent=sent)


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


class StreamBroken(RpcError):
    """A stream was not what its worker had sent: an item is missing, or more came than there was credit for."""


class ErrorReply(RpcError):
    """A worker answered with an error. Raised as itself for -32603 and for a code that `CODES` does not know.

    `code` is the JSON-RPC error code, `message` the worker's one-line text and `data` whatever else
    the worker sent, as it was decoded.

    A function may raise one itself, `Overloaded` or `Forbidden` say, or one with a code of its own: the
    caller gets just that, and no `RemoteError`. One that it got from a worker that it has called in its turn
    is a `RemoteError` to its caller.
    """

    code = -32603  # "internal error": the worker failed outside the function
    is_received = False  # it came from a worker

    def __init__(self, message: str, data: Any = None, code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        if code is not None:
            self.code = code


class ParseError(ErrorReply):
    """The worker received a body that is not what its content-type says, or one it does not read."""

    code = -32700


class InvalidRequest(ErrorReply):
    """The worker received a body that is no JSON-RPC 2.0 request."""

    code = -32600


class MethodNotFound(ErrorReply):
    """The worker has no function of that name. Told at once, the call does not run into its timeout."""

    code = -32601


class InvalidParams(ErrorReply):
    """The arguments do not fit the function's signature or its types; the function was not run.

    If it was one argument's value, `data` has its name (`argument`) and its type (`expected`).
    """

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


class Overloaded(ErrorReply):
    """The worker has too much to do, or the function says so by raising it; the call was not served.

    `retry_after`: so many seconds later it may be worth another try; None if the worker does not say.
    A function raises it as `Overloaded("busy", retry_after=2.0)`.
    """

    code = -32001

    def __init__(
        self,
        message: str,
        data: Any = None,
        code: int | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        if data is None and retry_after is not None:
            data = {"retry_after": retry_after}
        super().__init__(message, data, code)
        told = data.get("retry_after") if isinstance(data, dict) else None
        known = isinstance(told, int | float) and 0 <= told < math.inf
        self.retry_after: float | None = told if known else None


class RemoteTimeout(ErrorReply, Timeout):
    """The function took longer than the worker lets it; it may have had its effect, or have it yet.

    It is a `Timeout` as well: whoever does not care which side lost patience catches that.
    """

    code = -32002


class Forbidden(ErrorReply):
    """The caller may not call this. Raised by a worker's hooks, or by the function itself."""

    code = -32003


def is_reply(error: BaseException) -> TypeGuard[ErrorReply]:
    """Tell whether an exception that a function raised is what its caller is to get."""
    return isinstance(error, ErrorReply) and not error.is_received


#: JSON-RPC error code -> what the caller gets. A code that is not listed raises `ErrorReply`.
CODES: dict[int, type[ErrorReply]] = {
    kind.code: kind
    for kind in (
        *(ErrorReply, ParseError, InvalidRequest, MethodNotFound, InvalidParams),
        *(RemoteError, Overloaded, RemoteTimeout, Forbidden),
    )
}
