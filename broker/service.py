"""The whole broker as one Twisted service: builds the rooms, joins them, orders their start and stop.

The only module, with `broker.cli`, that knows every room. Start: store, core, turn, listeners. Stop, in
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
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from broker.admin.desk import Desk
from broker.admin.outside import House
from broker.agenda import Agenda
from broker.connection import Connection
from broker.core.broker import Broker, Outside
from broker.core.policy import Policies
from broker.cron import next_cron
from broker.dialect import Dialect
from broker.errors import Refusal, StompError
from broker.filters import make_filter
from broker.net.plugged import Unknown, find
from broker.net.secure import SecureStream
from broker.net.stream import Guest, Intake, Stream
from broker.net.wall import time_of_day
from broker.options import Listener, Options
from broker.peering.dialled import Dialled
from broker.peering.peer import Peer
from broker.peering.peers import Peers
from broker.store import StoreError, StoreSettings, open_store
from broker.store.writer import start_writer
from broker.tail import annotate, rename
from broker.turn import Turn
from broker.watch.advisories import Advisories
from broker.watch.author import Author
from broker.watch.presence import Presence
from broker.watch.reports import Reporter
from broker.watch.schedule import ScheduleManagement
from broker.watch.statistics import Statistics

#: Policies that hold unless the operator says otherwise.
OURS: list[tuple[str, dict[str, Any]]] = [
    # Replies to remote calls that nobody waits for any more are nobody's to look at.
    ("/queue/rpc.reply.>", {"expired": "discard"}),
]


#: Protocols of listeners beside STOMP on TCP that come with the broker, and where others are found.
PROTOCOLS = {"http": "broker.net.http:make_site"}
LISTENERS = "hoofbeat.listeners"


class CannotStart(Exception):
    """The broker cannot run as it was asked to, in one line for the operator."""


class StompFactory(Factory):
    """One listener's door to the house: makes a stream for each client, and its connection."""

    noisy = False  # clients come and go without a log line

    def __init__(self, service: BrokerService, dialect: Dialect, stream: type[Stream]) -> None:
        """`dialect` is what its clients expect, `stream` what carries what they say."""
        self._stream = stream
        self.turn = service.turn
        self.intake = service.intake
        self._service = service
        self._dialect = dialect

    def buildProtocol(self, address: object) -> Stream:
        """Twisted: a client has come."""
        return self._stream(self, self._service.options.linger)

    # broker.net.stream.House

    def open_connection(self, stream: Guest) -> Connection:
        """A client has come."""
        return self._service.open_connection(stream, self._dialect)

    def forget(self, stream: Guest) -> None:
        """A client has gone."""
        self._service.forget(stream)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run a callable after a while."""
        self._service.call_later(seconds, call)


class PeerHouse:
    """What a stream needs that leads to another broker."""

    def __init__(self, service: BrokerService, peer: Peer) -> None:
        self.turn = service.turn
        self.intake = service.intake
        self._service = service
        self._peer = peer

    # broker.net.stream.House

    def open_connection(self, stream: Guest) -> Connection:
        """The peer has answered."""
        return self._service.open_link(stream, self._peer)

    def forget(self, stream: Guest) -> None:
        """The link has gone."""
        self._service.forget(stream)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run a callable after a while."""
        self._service.call_later(seconds, call)


class BrokerService(Service):
    """A broker with its store and its listeners."""

    log = Logger()

    def __init__(self, options: Options, reactor: Any) -> None:
        """Open the store and take over what is in it. Raises `CannotStart`.

        `reactor` is Twisted's: it listens, tells the time and takes calls from threads.
        """
        self.options = options
        self.streams: dict[Guest, str] = {}  # and the session of each
        self._reactor = reactor
        #: Streams read for themselves where the reactor lets them: `broker.net.reactor`.
        self.intake: Intake | None = reactor if hasattr(reactor, "read_from") else None
        self._timer: IDelayedCall | None = None
        self._sessions = count(1)
        self._ports: list[IListeningPort] = []
        self._all_gone: Deferred[None] | None = None
        settings = StoreSettings(options.map_size, options.disk_reserve)
        try:
            self._store = open_store(options.store_url, settings)
            stored = self._store.load()
        except StoreError as error:
            raise CannotStart(str(error)) from None
        except Exception as error:  # a driver's own words: the disk is full, for one
            raise CannotStart(f"cannot use the store {options.store_url}: {error}") from error
        self._name = f"hoof-{stored.node}-{stored.boot}"
        self._id_prefix = f"{self._name}-".encode()
        self._agenda = Agenda(self._wake_at)
        self.broker = Broker(
            Outside(
                annotate,
                make_filter,
                next_cron,
                self._rename,
                self._wake_schedule_at,
                elapsed=time.monotonic,
            ),
            policies=Policies([*OURS, *options.policies]),
            memory_limit=options.memory_limit,
            max_redeliveries=options.max_redeliveries,
            track_for=int(options.track_for * 1000),
            track_most=options.track_most,
        )
        self.presence = Presence(self.broker, f"hoof-{stored.node}", self._name)
        author = Author(self.broker, self._id_prefix)
        self.broker.tell = Advisories(self.broker, self.presence, author).tell
        self.broker.reports = Reporter(self.broker, author, self.presence)
        path = options.store_url.partition(":")[2]
        statistics = Statistics(
            self.broker,
            self.presence,
            author,
            options.memory_limit,
            options.map_size,
            lambda: size_on_disk(path),
            os.path.abspath(path) if path else "",
        )
        ScheduleManagement(self.broker, author)
        self.broker.now = int(time_of_day() * 1000)
        self.broker.load(stored, self._read)
        self.peers = Peers(self.broker, options, stored.node, stored.boot, self._say)
        Desk(
            House(
                self.broker,
                self.presence,
                statistics,
                options,
                self.peers,
                self.broker.now,
                lambda: {session: stream.address for stream, session in self.streams.items()},
                self._dismiss,
                self._later,
            ),
            author,
        )
        try:
            self.broker.routes.compose(options.composites)
        except Refusal as error:
            self._store.close()
            said = ". ".join(filter(None, (error.text, error.hint)))
            raise CannotStart(f"composite destinations: {said}") from None
        self.turn = Turn(
            self.broker,
            self._store,
            lambda: start_writer(self._store, reactor.callFromThread, self._store_failed),
            self._agenda,
            options.journal_bytes,
            options.journal_delay,
            partial(reactor.callLater, 0) if self.intake is None else reactor.at_end,
            self._store_failed,
        )
        self._links = self._make_links()

    def _say(self, text: str) -> None:
        """Tell the operator."""
        self.log.info("{text}", text=text)

    def _make_links(self) -> list[Service]:
        """Return what dials the peers that do not dial us. Raises `CannotStart`."""
        dialled = [peer for peer in self.peers if peer.is_dialled]
        if not dialled:
            return []
        from broker.net.dialling import CannotDial, dial  # few brokers have peers

        try:
            return [dial(peer, PeerHouse(self, peer), self._reactor) for peer in dialled]
        except CannotDial as error:
            self._store.close()
            raise CannotStart(str(error)) from None

    def listen(self) -> list[str]:
        """Accept clients; return the URL of each listener. Raises `CannotStart` unless all are had."""
        listeners = self.options.listeners
        try:
            for listener in listeners:
                self._ports.append(self._open(listener))
        except CannotStart:
            self._stop_listening()
            self._store.close()
            raise
        for link in self._links:
            link.startService()  # type: ignore[no-untyped-call]
        for name, left in self.peers.forgotten.items():
            self.log.warn("{n} messages wait for {peer}, which is no peer now", n=left, peer=name)
        self._agenda.add(time.monotonic() + self.options.sweep_every, self._sweep)
        urls = [url_of(*each) for each in zip(self._ports, listeners, strict=True)]
        self.presence.url = urls[0]
        return urls

    def _open(self, listener: Listener) -> IListeningPort:
        """Return the port of a listener. Raises `CannotStart`."""
        is_secure = bool(listener.tls_certificate)
        house = StompFactory(
            self,
            self.options.dialect_named(listener.dialect),
            SecureStream if is_secure else Stream,
        )
        factory: IProtocolFactory = house
        if listener.protocol != "stomp":
            try:
                make = find(listener.protocol, PROTOCOLS, LISTENERS, "protocol")
            except Unknown as error:
                raise CannotStart(f"[[listener]]: {error}, and stomp") from None
            factory = make(house, self._reactor, self.options)
        if is_secure:
            factory = secured(factory, listener)
        try:
            port: IListeningPort = self._reactor.listenTCP(
                listener.port, factory, listener.backlog, listener.host
            )
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise CannotStart(
                f"cannot listen on {listener.host}:{listener.port}: {reason}"
            ) from None
        return port

    def _stop_listening(self) -> None:
        for port in self._ports:
            port.stopListening()

    def startService(self) -> None:
        """Twisted: start, unless `listen` was called before."""
        super().startService()  # type: ignore[no-untyped-call]
        if not self._ports:
            self.log.info("ready on {urls}", urls=", ".join(self.listen()))

    def stopService(self) -> Deferred[None]:
        """Twisted: stop, keeping every promise."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._stop_listening()
        for link in self._links:
            link.stopService()  # type: ignore[no-untyped-call]
        self.turn.begin(time.monotonic(), time_of_day())
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

    # What the listeners' doors ask for.

    def open_connection(self, stream: Guest, dialect: Dialect) -> Connection:
        """A client has come, to a listener of this dialect."""
        session = self.streams[stream] = f"{self._name}-{next(self._sessions)}"
        return Connection(
            self.broker,
            self.turn,
            self.options,
            self._id_prefix,
            session,
            self._agenda,
            stream,
            dialect,
            self.peers,
        )

    def open_link(self, stream: Guest, peer: Peer) -> Connection:
        """A peer that was dialled has answered."""
        session = self.streams[stream] = f"{self._name}-{next(self._sessions)}"
        return Dialled(
            self.peers,
            peer,
            self.broker,
            self.turn,
            self.options,
            self._id_prefix,
            session,
            self._agenda,
            stream,
        )

    def forget(self, stream: Guest) -> None:
        """A client has gone."""
        self.streams.pop(stream, None)
        if self._all_gone is not None and not self.streams:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    def _dismiss(self, session: str, error: StompError) -> None:
        """End the connection of a session, if it is there."""
        for stream in [stream for stream, each in self.streams.items() if each == session]:
            stream.dismiss(error)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run a callable after a while."""
        self._reactor.callLater(seconds, call)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function in a turn, after a while."""
        self._agenda.add(time.monotonic() + seconds, lambda now: call())

    def _wake_at(self, when: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(max(0.0, when - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self.turn.begin(time.monotonic(), time_of_day())
        self._agenda.run(self.turn.now)  # a turn has one time, also when it began before

    def _rename(self, tail: bytes, seq: int) -> bytes:
        """Give a tail the message-id of a sequence number."""
        return rename(tail, b"%b%d" % (self._id_prefix, seq))

    def _wake_schedule_at(self, when: int) -> None:
        """Look at the schedule at a moment given in milliseconds since 1970."""
        self._agenda.add(time.monotonic() + when / 1000 - time_of_day(), self._tick_schedule)

    def _tick_schedule(self, now: float) -> None:
        self.broker.schedule.tick(self.broker.now)

    def _sweep(self, now: float) -> float:
        self.broker.sweep()
        return now + self.options.sweep_every

    def _read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Read records for whoever does so in the middle of a turn."""
        try:
            return self._store.read(queue, priority, after, count, size)
        except Exception as error:
            self._store_failed(error)
            raise

    def _store_failed(self, error: BaseException) -> None:
        """Nothing is known about the disk any more: end before any promise is made, let a supervisor restart."""
        print(f"hoofbeat: the store has failed: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def make_service(options: Options, reactor: Any) -> BrokerService:
    """Return the broker as a service. Raises `CannotStart`."""
    return BrokerService(options, reactor)


def secured(factory: IProtocolFactory, listener: Listener) -> IProtocolFactory:
    """Return what speaks TLS to the streams of a factory. Raises `CannotStart`."""
    from broker.net import tls  # brings OpenSSL, which few brokers need

    try:
        context = tls.server_context(listener.tls_certificate, listener.tls_key)
    except tls.CannotSecure as error:
        raise CannotStart(f"TLS on {listener.host}:{listener.port}: {error}") from None
    return tls.accepting(factory, context)


def url_of(port: IListeningPort, listener: Listener) -> str:
    """Return the URL of a listener, whose port may have been chosen by the system."""
    address = port.getHost()
    assert isinstance(address, IPv4Address | IPv6Address)
    host = f"[{address.host}]" if ":" in address.host else address.host
    scheme = listener.protocol
    if listener.tls_certificate:
        scheme = "https" if scheme == "http" else f"{scheme}+ssl"
    return f"{scheme}://{host}:{address.port}"


def size_on_disk(path: str) -> int:
    """Return the bytes that a store's file, and those beside it, or its directory take; "" takes none."""
    if not path:
        return 0
    place = Path(path)
    files = place.iterdir() if place.is_dir() else place.parent.glob(f"{place.name}*")
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


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
