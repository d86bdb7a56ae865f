"""`Client` for programs with threads: calls of one service, from any number of threads.

What its methods mean; how threads share the connection is `line`'s to know.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rpc.address import parse_address
from rpc.blocking.future import CallFuture
from rpc.blocking.line import FOREVER, Line
from rpc.caller import UNSET, ClientStats, Unset
from rpc.face import Face
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS


class Client(Face):
    """Calls the functions of one service. Any number of threads may use one client at once.

    It connects at the first call, and again at the first call after the connection was lost. One
    connection and one reply queue serve all calls. A forked process gets a connection of its own.
    """

    def __init__(
        self,
        url: str,
        service: str,
        *,
        durable: bool = True,
        heart_beat: float = HEART_BEAT_SECONDS,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """`url`: `stomp://[login:passcode@]host[:61613][/vhost]`; `service`: what the worker is named.

        `durable`: requests and replies are kept on the broker's disk until they were consumed, so a
        call outlives a broker that restarts; without, they are kept in memory only. `heart_beat`:
        seconds, 0 for none. Raises `ValueError` for a URL or name that makes no sense.
        """
        super().__init__()
        self._line = Line(
            parse_address(url),
            service,
            durable=durable,
            heart_beat=heart_beat,
            connect_timeout=connect_timeout,
        )

    def call(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Any:
        """Call a remote function and return its result.

        Arguments go by position or by name, not both: that is how JSON-RPC 2.0 has it. `timeout` is
        in seconds, 30 unless `options` say otherwise; None waits for ever. Raises `Timeout`,
        `ConnectionLost` (`sent` tells whether the function may have run), `ServiceUnavailable`,
        `MethodNotFound`, `InvalidParams`, `RemoteError`; before anything was sent `TypeError` or
        `ValueError` for arguments that JSON cannot express.
        """
        line = self._line
        return line.finish(line.begin(method, args, kwargs, self._options.within(timeout)))

    def notify(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> None:
        """Let a remote function be called, and do not wait for it: nobody hears what becomes of it.

        Returns once the broker has confirmed that it has the call, on disk if the client is `durable`.
        No worker takes it up later than `timeout`. Raises as `call` does for what happens before.
        """
        line = self._line
        options = self._options.within(timeout)
        line.finish(line.begin(method, args, kwargs, options, notifies=True))

    def submit(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> CallFuture:
        """Begin a call and return its future at once; its `result` is what `call` would do.

        It is also what `concurrent.futures.wait` and `asyncio.wrap_future` take. Raises, like `call`,
        for what could not be sent.
        """
        return self._line.submit(method, args, kwargs, self._options.within(timeout))

    def connect(self) -> None:
        """Connect now instead of at the first call. Raises `ConnectionLost` or `BrokerRefused`."""
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
