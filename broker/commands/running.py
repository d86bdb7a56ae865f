"""One worker of any kind, run until a signal: threads, asyncio or Twisted, each in its own way.

SIGTERM or SIGINT: calls that run are finished. A second one ends the process at once, as if we were not here.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import cast

import rpc
import rpc.aio
from rpc.offer import Offer

HEEDED = (signal.SIGTERM, signal.SIGINT)


def run(worker: Offer, ready: Callable[[], None]) -> None:
    """Serve until a signal comes; `ready` is called once calls reach the worker.

    In the main thread, where SIGINT does what the system has it do (`SIG_DFL`): what it does the second
    time. Raises `BrokerRefused` if the broker refuses the worker.
    """
    if isinstance(worker, rpc.Worker):
        worker.run(ready)
    elif isinstance(worker, rpc.aio.Worker):
        asyncio.run(_on_loop(worker, ready))
    else:
        _in_reactor(worker, ready)


async def _on_loop(worker: rpc.aio.Worker, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in HEEDED:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        worker.stop()

    for number in HEEDED:
        loop.add_signal_handler(number, stop)
    await worker.run(ready)


def _in_reactor(worker: Offer, ready: Callable[[], None]) -> None:
    """Run the reactor; not imported before, for the program may have chosen one."""
    from twisted.internet import error, reactor
    from twisted.internet.interfaces import IReactorFromThreads
    from twisted.python.failure import Failure

    import rpc.tx

    assert isinstance(worker, rpc.tx.Worker)  # noqa: S101  # there are three kinds
    failures: list[Failure] = []

    def begin() -> None:
        for number in HEEDED:  # the reactor's own would stop it a second time
            signal.signal(number, stop)
        worker.run(ready).addErrback(failed).addBoth(end)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in HEEDED:
            signal.signal(each, signal.SIG_DFL)
        cast(IReactorFromThreads, reactor).callFromThread(end, None)

    def failed(failure: Failure) -> None:
        failures.append(failure)

    def end(result: object) -> None:
        with suppress(error.ReactorNotRunning):  # it is ending already
            reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run()
    for failure in failures:
        failure.raiseException()
