"""Remote calls over a STOMP broker: a function in one process, called from another.

    worker = rpc.Worker("stomp://127.0.0.1:61613", service="demo")

    @worker.method
    def whee(argument):
        return {"Whee": 123}

    worker.run()

and elsewhere::

    client = rpc.Client("stomp://127.0.0.1:61613", service="demo")
    client.call("whee", "Hello", timeout=5)  # {"Whee": 123}

The wire is JSON-RPC 2.0 in plain STOMP frames (`rpc.message` shows them), so either side may be written
in any language. The rooms, imports point down only:

- `blocking`, `aio`, `tx`: the faces, `Client` and `Worker` for threads, asyncio and Twisted; the latter two are
  imported by name. `testing`: all of them in memory, for tests. `offer`, `processes`: what their workers share;
- `jobs`: messages that are no calls, whose senders hear that they were processed; imported by name;
- `calling`: a client without a socket; `working`: a worker without one;
- `lifeline`: a connection that is made again, for event loops; `link`: a STOMP conversation without a socket;
- `message`, `codec`, `context`, `address`, `backoff`, `errors`: what both ends know. Pure.
"""

from rpc.blocking import CallFuture, Client, SqliteResults, Stream, Worker
from rpc.calling.broadcast import Answer
from rpc.calling.caller import ClientStats
from rpc.calling.options import CallOptions
from rpc.context import Context, current
from rpc.errors import (
    BrokerRefused,
    Cancelled,
    ConnectionLost,
    ErrorReply,
    Forbidden,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    Overloaded,
    ParseError,
    RemoteError,
    RemoteTimeout,
    RpcError,
    ServiceUnavailable,
    StreamBroken,
    Timeout,
)
from rpc.working.registration import method
from rpc.working.results import MemoryResults, Results, SharedResults

__all__ = [
    "Answer",
    "BrokerRefused",
    "CallFuture",
    "CallOptions",
    "Cancelled",
    "Client",
    "ClientStats",
    "ConnectionLost",
    "Context",
    "ErrorReply",
    "Forbidden",
    "InvalidParams",
    "InvalidRequest",
    "MemoryResults",
    "MethodNotFound",
    "Overloaded",
    "ParseError",
    "RemoteError",
    "RemoteTimeout",
    "Results",
    "RpcError",
    "ServiceUnavailable",
    "SharedResults",
    "SqliteResults",
    "Stream",
    "StreamBroken",
    "Timeout",
    "Worker",
    "current",
    "method",
]
