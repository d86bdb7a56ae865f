"""`Client` for programs with threads: calls of one service, from any number of threads.

What its methods mean; how threads share the connection is `line`'s to know, or `rider`'s.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from rpc.blocking.carrier import Carrier
from rpc.blocking.future import CallFuture
from rpc.blocking.items import Stream
from rpc.blocking.line import FOREVER, Line
from rpc.calling.batch import Batch, Batches, Pipeline
from rpc.calling.broadcast import Answer
from rpc.calling.caller import (
    CALL,
    NOTIFICATION,
    ClientStats,
    batch_of,
    broadcast,
    encode_params,
    stream,
)
from rpc.calling.face import Face
from rpc.calling.options import BROADCAST_TIMEOUT, UNSET, Unset
from rpc.errors import RpcError
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS
from rpc.tls import read_address

if TYPE_CHECKING:
    from rpc.blocking.rider import Connection


class Client(Face):
    """Calls the functions of one service. Any number of threads may use one client at once.

    It connects at the first call, and again at the first call after the connection was lost. One
    connection and one reply queue serve all calls. A forked process gets a connection of its own.
    """

    @overload
    def __init__(
        self,
        url: str,
        service: str,
        *,
        durable: bool = True,
        heart_beat: float = HEART_BEAT_SECONDS,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None: ...

    @overload
    def __init__(self, *, connection: Connection, service: str, durable: bool = True) -> None: ...

    def __init__(
        self,
        url: str | None = None,
        service: str | None = None,
        *,
        connection: Connection | None = None,
        durable: bool = True,
        heart_beat: float | None = None,
        connect_timeout: float | None = None,
    ) -> None:
        """`url`: `stomp://[login:passcode@]host[:61613][/vhost]`; `service`: what the worker is named.

        Over TLS: `stomp+ssl://`, and behind it, if need be, `?tls_authorities=FILE` (who signs the broker's
        certificate; else whom the system trusts), `&tls_certificate=FILE&tls_key=FILE` (to be shown to it).

        `durable`: requests and replies are kept on the broker's disk until they were consumed, so a
        call outlives a broker that restarts; without, they are kept in memory only. `heart_beat`:
        seconds, 0 for none. Raises `ValueError` for a URL or name that makes no sense, and for files that
        cannot be used.

        `connection`, instead of a URL: a stomp.py connection that the program has. The program connects
        it, again if it is lost, and disconnects it; until then calls fail with `ConnectionLost`. The
        client has a subscription and a listener of its own on it, until it is closed. Like every
        listener of stomp.py the program's others hear the replies too: `subscription` tells whose a
        message is. MessagePack wants a connection with `auto_decode=False`. In a listener only
        `submit` can be used, for stomp.py's thread brings the replies. A call whose SEND the broker
        refuses ends with its timeout: an ERROR does not say whose it is, and the program hears it.
        """
        super().__init__()
        if service is None or (url is None) == (connection is None):
            raise TypeError("A client needs a service, and either a URL or a connection")
        self._line: Carrier
        if url is not None:
            self._line = Line(
                read_address(url),
                service,
                durable=durable,
                heart_beat=HEART_BEAT_SECONDS if heart_beat is None else heart_beat,
                connect_timeout=CONNECT_TIMEOUT if connect_timeout is None else connect_timeout,
            )
        elif connection is not None:
            if heart_beat is not None or connect_timeout is not None:
                raise TypeError("heart_beat and connect_timeout are the connection's own")
            from rpc.blocking.rider import Rider  # stomp.py is slow to import

            self._line = Rider(connection, service, durable=durable)

    def call(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Any:
        """Call a remote function and return its result.

        Arguments go by position or by name, not both: that is how JSON-RPC 2.0 has it. `timeout` is
        in seconds, 30 unless `options` say otherwise; None waits for ever. Raises `Timeout`,
        `ConnectionLost` (`sent` tells whether the function may have run), `ServiceUnavailable`,
        `MethodNotFound`, `InvalidParams`, `RemoteError`; before anything was sent `TypeError` or
        `ValueError` for arguments that cannot be expressed. Ctrl-C while it waits tells the worker that
        nobody waits any more.
        """
        line, options = self._line, self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        return line.finish(line.begin(method, params, options, CALL))

    def notify(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> None:
        """Let a remote function be called, and do not wait for it: nobody hears what becomes of it.

        Returns once the broker has confirmed that it has the call, on disk if the client is `durable`.
        No worker takes it up later than `timeout`. Raises as `call` does for what happens before.
        """
        line, options = self._line, self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        line.finish(line.begin(method, params, options, NOTIFICATION))

    def submit(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> CallFuture:
        """Begin a call and return its future at once; its `result` is what `call` would do.

        It is also what `concurrent.futures.wait` and `asyncio.wrap_future` take. Cancelled, the worker
        is told that nobody waits any more. Raises, like `call`, for what could not be sent.
        """
        options = self._with(timeout)
        return self._line.submit(method, encode_params(args, kwargs, options.coder), options)

    def map(
        self,
        method: str,
        /,
        *iterables: Iterable[Any],
        batch: int = 100,
        ahead: int = 4,
        return_errors: bool = False,
        timeout: float | Unset | None = UNSET,
    ) -> Generator[Any, None, None]:
        """Yield the results of `method(a, b, …)` for a, b, … in the iterables, in order, as `map` does.

        The calls travel in JSON-RPC batches of `batch`, each run by one worker one call after the other;
        at most `ahead` batches are under way, and the iterables are read no further than that. `timeout`
        is for each batch. The first call that failed raises its error when its place is reached; with
        `return_errors` each error (an `RpcError`) is yielded in its place instead. Closing the generator
        cancels what is under way. Raises as `call`, and `ValueError` for numbers that make no sense.
        """
        line, options = self._line, self._with(timeout)
        pipeline = Pipeline(
            Batches(options.coder, method, iterables, batch),
            lambda body, count: line.begin(method, body, options, batch_of(count)),
            ahead,
        )
        return _results(line, pipeline, return_errors=return_errors)

    def broadcast(
        self,
        method: str,
        /,
        *args: Any,
        first: int | None = None,
        timeout: float | None = BROADCAST_TIMEOUT,
        **kwargs: Any,
    ) -> list[Answer]:
        """Call a function of every worker of the service, and return what they answer as it comes.

        Returns the `first` so many answers as soon as they are there, or after `timeout` seconds those
        that have come, however few: nobody knows how many workers there are. The others' work is not
        cancelled. Workers that come later do not get the call. Raises as `call` does, without `Timeout`;
        what a worker answered is raised by its `Answer`. `ValueError`: all answers without a timeout.
        """
        line, options = self._line, self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        call = line.begin(method, params, options, broadcast(first, timeout))
        answers: list[Answer] = line.finish(call)
        return answers

    def stream(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Stream:
        """Call a function that yields its result item by item; return an iterator of the items.

        The call is sent at once. `timeout` is here how many seconds to wait for each item, and within it
        a worker must have begun. No more items are sent than the option `credit` says before some are
        taken. Leaving the loop early lets the worker stop; `with client.stream(...) as items:` does so in
        any case. A function that returns one result is a stream of one item. Iterating raises as `call`
        does, where the items end: `ConnectionLost` whatever `on_loss` says, `StreamBroken` if some are
        missing.
        """
        line, options = self._line, self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        return Stream(line, line.begin(method, params, options, stream(options)))

    def connect(self) -> None:
        """Connect now instead of at the first call. Raises `ConnectionLost` or `BrokerRefused`.

        With a connection of the program's: wait until the broker has confirmed that replies come.
        """
        self._line.connected(FOREVER)

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""
        return self._line.stats()

    def close(self) -> None:
        """Disconnect. Pending calls of other threads, and later ones, end with `ConnectionLost`."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _results(
    line: Carrier, pipeline: Pipeline[Batch], *, return_errors: bool
) -> Generator[Any, None, None]:
    try:
        while (call := pipeline.next()) is not None:
            outcomes = line.finish(call)
            pipeline.fill()
            if return_errors:
                yield from outcomes
                continue
            for outcome in outcomes:
                if isinstance(outcome, RpcError):
                    raise outcome
                yield outcome
    finally:  # perhaps of a generator that was left to nobody
        for call in pipeline.pending:
            line.desert(call)
