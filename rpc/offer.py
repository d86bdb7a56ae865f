"""What the workers of all faces have in common: which functions they offer, and how they are served."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypedDict, TypeVar, Unpack, overload

from rpc.context import Context
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS
from rpc.message import request_queue
from rpc.tls import read_address
from rpc.working.limits import DELIVERIES, ServingOptions
from rpc.working.loopworker import LoopWorker, WorkerHost
from rpc.working.methods import Methods
from rpc.working.registration import Options
from rpc.working.results import MemoryResults, Results
from rpc.working.serving import Serving

Function = TypeVar("Function", bound=Callable[..., Any])
#: True while a program is imported for its worker, which is not to be run by the program itself.
LOADING: ContextVar[bool] = ContextVar("rpc.loading", default=False)

Hook = Callable[[Context, Callable[[], Any]], Any]


class WorkerOptions(TypedDict, total=False):
    """What every worker may be told besides the broker and the service: see `Offer`."""

    concurrency: int
    backlog: int | None
    max_deliveries: int
    tracebacks: bool
    results: Results | None
    name: str | None
    doc: str
    heart_beat: float
    connect_timeout: float


class Offer:
    """A worker, whatever runs its functions."""

    def __init__(
        self,
        url: str,
        service: str,
        *,
        concurrency: int = 8,
        backlog: int | None = None,
        max_deliveries: int = DELIVERIES,
        tracebacks: bool = False,
        results: Results | None = None,
        name: str | None = None,
        doc: str = "",
        heart_beat: float = HEART_BEAT_SECONDS,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """`url`: as for `Client`; `service`: a name of letters, digits, `_`, `.` and `-`.

        - `concurrency`: so many calls run at once, and so many are taken from the queue ahead;
        - `backlog`: so many more may wait in this worker before callers are told `Overloaded` at once;
          None: they wait in the broker's queue, however many;
        - `max_deliveries`: a call that was handed out so often without success, because workers died of
          it, becomes a dead letter, and its caller is told so;
        - `tracebacks`: callers get the traceback of what a function raised, and with it a view of this
          program's code;
        - `results`: where the results of idempotent methods are kept; this process's memory by default.
          Several workers that serve such methods want one that they share, as `rpc.SqliteResults`;
        - `name`: this worker's own, for `rpc.describe`, `rpc.stats` and broadcasts; host and process by
          default; `doc`: what the service is for;
        - `heart_beat`: seconds, 0 for none; `connect_timeout`: seconds for TCP and CONNECT together.

        Raises `ValueError` for what makes no sense, `TypeError` for an option that does not exist.
        """
        request_queue(service)
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:4]}"
        self._address = read_address(url)
        self._service = service
        self._heart_beat = heart_beat
        self._connect_timeout = connect_timeout
        self._methods = Methods()
        self._hooks: list[Hook] = []
        self._limits = ServingOptions(concurrency, backlog, max_deliveries, tracebacks, doc)
        self._results = results
        self._prepare()

    def _prepare(self) -> None:
        """Make what follows from how the calls are served."""
        self._serving = self.serving(self._methods, time.monotonic, time.time)

    def serving(
        self, methods: Methods, now: Callable[[], float], wall: Callable[[], float]
    ) -> Serving:
        """Return this offer's calls as a new worker begins with them, by other clocks.

        `methods`: ours, or a copy of them; `now`: monotonic seconds, `wall`: seconds since 1970.
        """
        kept = MemoryResults(now) if self._results is None else self._results
        return Serving(self._service, methods, self.name, self._limits, kept, wall)

    def _begin(self) -> None:
        """Refuse to run a program that is being loaded by somebody who will run it."""
        if LOADING.get():
            raise RuntimeError(
                "worker.run() is for `if __name__ == '__main__':` where others load it"
            )

    def _loop_worker(self, host: WorkerHost, *, runs_here: bool) -> LoopWorker:
        """Return what serves on an event loop; see `LoopWorker`."""
        return LoopWorker(
            host,
            self._address,
            self._serving,
            self._wrapped if self._hooks else None,
            self._heart_beat,
            self._connect_timeout,
            runs_here=runs_here,
        )

    def change(
        self, *, url: str | None = None, concurrency: int | None = None, name: str | None = None
    ) -> Self:
        """Serve differently than the program said, before `run` is called; returns the worker.

        For who starts a worker that somebody else wrote, as the command line does. What is None stays.
        Raises `ValueError` for what makes no sense.
        """
        if url is not None:
            self._address = read_address(url)
        if concurrency is not None:
            self._limits = replace(self._limits, concurrency=concurrency)
        if name is not None:
            self.name = name
        self._prepare()
        return self

    def __str__(self) -> str:
        """Return what a log line may show: the service, the broker's host and port, the worker's name."""
        return f"{self._service} at {self._address} as {self.name}"

    @overload
    def method(
        self, function: Function, *, name: str | None = None, **options: Unpack[Options]
    ) -> Function: ...
    @overload
    def method(
        self, function: None = None, *, name: str | None = None, **options: Unpack[Options]
    ) -> Callable[[Function], Function]: ...
    def method(
        self,
        function: Function | None = None,
        *,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> Function | Callable[[Function], Function]:
        """Offer a function, under its own name or `name`: `@worker.method`, `@worker.method(name="a")`.

        The function is left as it is; it may be `async`, or a generator, whose items a caller's `stream`
        gets one by one. `options` are those of `MethodOptions`. Raises `ValueError` for a name that is
        taken, `TypeError` for an annotation that no argument can be checked against, and for an option
        that does not exist.
        """
        if function is None:
            return lambda function: self.method(function, name=name, **options)
        return self._methods.add(function, name=name, **options)

    def register(self, thing: Any, *, prefix: str = "") -> Self:
        """Offer all public functions of a module, or methods of an object or class; returns the worker.

        See `rpc.Methods.register` for what is public, and `rpc.method` for options of single ones.
        """
        self._methods.register(thing, prefix=prefix)
        return self

    def hook(self, hook: Function) -> Function:
        """Put a function around all calls: `hook(context, proceed)` returns what `proceed()` returns.

            @worker.hook
            def log(context, proceed):
                print(context.user, context.method)
                return proceed()

        The first one given is the outermost. What it raises is what the caller gets.
        """
        self._check_hook(hook)
        self._hooks.append(hook)
        return hook

    def _check_hook(self, hook: Callable[..., Any]) -> None:
        raise NotImplementedError

    def _wrapped(self, context: Context, call: Callable[[], Any]) -> Callable[[], Any]:
        """Return a call with the hooks around it."""
        for hook in reversed(self._hooks):
            call = partial(hook, context, call)
        return call
