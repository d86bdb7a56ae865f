"""The whole broker as one Twisted service: builds the rooms, joins them, orders their start and stop.

The only module, with `broker.cli`, that knows every room. Start: store, core, turn, listener. Stop, in
the order that keeps every promise: no new clients; nobody is read from any more, what they held goes back;
everything is written; receipts that are owed leave; links close; the store is closed.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from broker.agenda import Agenda
from broker.connection import Connection
from broker.core.broker import SWEEP_EVERY, Broker
from broker.net.stream import Stream
from broker.options import Options
from broker.store import StoreError, StoreSettings, open_store
from broker.store.writer import start_writer
from broker.tail import annotate
from broker.turn import Turn


class CannotStart(Exception):
    """The broker cannot run as it was asked to, in one line for the operator."""


class StompFactory(Factory):
    """Makes a stream for each client."""

    noisy = False  # clients come and go without a log line

    def __init__(self, service: BrokerService) -> None:
        self._service = service

    def buildProtocol(self, address: object) -> Stream:
        """Twisted: a client has come."""
        return Stream(self._service, self._service.options.linger)


class BrokerService(Service):
    """A broker with its store and its listener."""

    log = Logger()

    def __init__(self, options: Options, reactor: Any) -> None:
        """Open the store and take over what is in it. Raises `CannotStart`.

        `reactor` is Twisted's: it listens, tells the time and takes calls from threads.
        """
        self.options = options
        self.streams: set[Stream] = set()
        self._reactor = reactor
        self._timer: IDelayedCall | None = None
        self._sessions = count(1)
        self._port: IListeningPort | None = None
        self._all_gone: Deferred[None] | None = None
        settings = StoreSettings(options.map_size, options.disk_reserve)
        try:
            self._store = open_store(options.store_url, settings)
            stored = self._store.load()
        except StoreError as error:
            raise CannotStart(str(error)) from None
        except Exception as error:  # a driver's own words: the disk is full, for one
            raise CannotStart(f"cannot use the store {options.store_url}: {error}") from error
        self.broker = Broker(
            memory_limit=options.memory_limit,
            max_redeliveries=options.max_redeliveries,
            annotate=annotate,
        )
        self.broker.load(stored.next_seq, stored.clean)
        for stored_queue in stored.queues:
            queue = self.broker.routes.load(stored_queue.number, stored_queue.name)
            for priority, records in stored_queue.lanes.items():
                queue.load(priority, records)
        self._name = f"hoof-{stored.node}-{stored.boot}"
        self._id_prefix = f"{self._name}-".encode()
        self._agenda = Agenda(self._wake_at)
        self.turn = Turn(
            self.broker,
            self._store,
            lambda: start_writer(self._store, reactor.callFromThread, self._store_failed),
            self._agenda,
            options.journal_bytes,
            options.journal_delay,
            lambda call: reactor.callLater(0, call),
            self._store_failed,
        )

    def listen(self) -> tuple[str, int]:
        """Accept clients; return the address. Raises `CannotStart`."""
        options = self.options
        try:
            self._port = self._reactor.listenTCP(
                options.port, StompFactory(self), options.backlog, options.host
            )
        except CannotListenError as error:
            self._store.close()
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise CannotStart(f"cannot listen on {options.host}:{options.port}: {reason}") from None
        self._agenda.add(time.monotonic() + SWEEP_EVERY, self._sweep)
        address = self._port.getHost()
        assert isinstance(address, IPv4Address | IPv6Address)
        return address.host, address.port

    def startService(self) -> None:
        """Twisted: start, unless `listen` was called before."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._port is None:
            host, port = self.listen()
            self.log.info("ready on stomp://{host}:{port}", host=host, port=port)

    def stopService(self) -> Deferred[None]:
        """Twisted: stop, keeping every promise."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._port is not None:
            self._port.stopListening()
        self.turn.begin(time.monotonic(), time.time())
        for stream in list(self.streams):
            stream.say_goodbye()
        self.turn.finish()
        gone: Deferred[None] = Deferred()
        if self.streams:
            self._all_gone = gone
            self.call_later(self.options.linger, self._abort_all)
        else:
            gone.callback(None)
        return gone.addCallback(lambda _: self._close())

    def _abort_all(self) -> None:
        for stream in list(self.streams):
            stream.abort()

    def _close(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._store.close()

    # broker.net.stream.House

    def open_connection(self, stream: Stream) -> Connection:
        """A client has come."""
        self.streams.add(stream)
        return Connection(
            self.broker,
            self.turn,
            self.options,
            self._id_prefix,
            f"{self._name}-{next(self._sessions)}",
            self._agenda,
            stream,
        )

    def forget(self, stream: Stream) -> None:
        """A client has gone."""
        self.streams.discard(stream)
        if self._all_gone is not None and not self.streams:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run a callable after a while."""
        self._reactor.callLater(seconds, call)

    def _wake_at(self, when: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(max(0.0, when - time.monotonic()), self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        self.turn.begin(now, time.time())
        self._agenda.run(now)

    def _sweep(self, now: float) -> float:
        self.broker.sweep()
        return now + SWEEP_EVERY

    def _store_failed(self, error: BaseException) -> None:
        """Nothing is known about the disk any more: end before any promise is made, let a supervisor restart."""
        print(f"hoofbeat: the store has failed: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def make_service(options: Options, reactor: Any) -> BrokerService:
    """Return the broker as a service. Raises `CannotStart`."""
    return BrokerService(options, reactor)


def tune_process() -> None:
    """Fit the process to its work, once at the start.

    Every client is an open file, so it may have as many as the system grants. Messages leave no cycles
    behind, only connections do: the cyclic garbage collector looks for them less often, because each look
    at a full journal costs as much as the messages in it.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    gc.freeze()  # what is there now stays
    gc.set_threshold(100_000, 20, 100)
