"""The whole broker as one Twisted service: builds the rooms, joins them, orders their start and stop.

The only module, with `broker.cli`, that knows every room. Start: store, core and turn of every virtual host, then
listeners. Stop, in the order that keeps every promise: no new clients; nobody is read from any more, what they held
goes back; everything is written; receipts that are owed leave; links close; the stores are closed.
"""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from broker.arriving import Arriving
from broker.auth.listeners import check_listeners
from broker.auth.reception import Authentication, LoginGuard
from broker.connection import Connection
from broker.dialect import Dialect
from broker.entrance import Entrance, Hosts
from broker.errors import StompError
from broker.lobby import Lobby, most_connections
from broker.logs.clients import ClientLog
from broker.machine import MemoryMark, memory_of_machine
from broker.net.plugged import Unknown, find
from broker.net.secure import SecureStream
from broker.net.stream import Guest, Intake, Stream
from broker.options import Listener, Options, OptionsError
from broker.peering.peer import Peer
from broker.reload import Commit, Keeper, reading_files
from broker.turn import Turn
from broker.virtualhost import CannotStart, Streams, VirtualHost

#: Settings that a connection looks at when it begins: others hold for those that come after a reload.
OF_CONNECTIONS = (
    *("connect_timeout", "linger", "heart_beat_least", "unsent_bytes", "stalled_bytes"),
    *("max_command", "max_headers", "max_header_line", "max_header_block", "max_connect_frame"),
    *("default_persistent", "prefetch", "populate_user_id", "stuck_timeout", "frame_timeout"),
    *("max_subscriptions", "max_transactions", "max_transaction_frames", "max_transaction_bytes"),
)

OF_ENTRANCE = ("names", "unknown_host", "people")
OF_RIGHTS = ("rights", "administrators")

#: Protocols of listeners beside STOMP on TCP that come with the broker, and where others are found.
PROTOCOLS = {"http": "broker.net.http:make_site"}
LISTENERS = "hoofbeat.listeners"
WATCH_EVERY = 1.0  # seconds between two looks at how much memory is taken


class Door:
    """What every stream needs of the broker, see `broker.net.stream.House`; `open_connection` is each door's own."""

    def __init__(self, service: BrokerService, turn: Turn) -> None:
        """`turn` is that of the host where a stream begins."""
        self.turn = turn
        self.intake = service.intake
        self._service = service

    def forget(self, stream: Guest) -> None:
        """Who came through it has gone."""
        self._service.forget(stream)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run a callable after a while."""
        self._service.call_later(seconds, call)


class StompFactory(Door, Factory):
    """One listener's door to the house: makes a stream for each client, and its connection."""

    noisy = False  # clients come and go without a log line

    def __init__(self, service: BrokerService, listener: Listener, stream: type[Stream]) -> None:
        """`stream` carries what its clients say."""
        super().__init__(service, service.host.turn)
        self._stream = stream
        self.lobby, self.arriving = service.lobby, service.arriving
        self._dialect = service.options.dialect_named(listener.dialect)
        self._lets_anonymous_in = listener.anonymous

    def buildProtocol(self, address: object) -> Stream:
        """Twisted: a client has come."""
        options = self._service.options
        return self._stream(self, options.linger, options.stuck_timeout)

    def open_connection(self, stream: Guest) -> Connection:
        """A client has come."""
        return self._service.open_connection(stream, self._dialect, self._lets_anonymous_in)


class PeerDoor(Door):
    """The door through which we go to another broker."""

    def __init__(self, service: BrokerService, host: VirtualHost, peer: Peer) -> None:
        super().__init__(service, host.turn)
        self._host = host
        self._peer = peer

    def open_connection(self, stream: Guest) -> Connection:
        """The peer has answered."""
        return self._service.open_link(stream, self._host, self._peer)


class BrokerService(Service):
    """A broker with its virtual hosts and its listeners."""

    log = Logger()

    def __init__(self, options: Options, reactor: Any) -> None:
        """Open each store and take over what is in it. Raises `CannotStart`.

        `reactor` is Twisted's: it listens, tells the time and takes calls from threads.
        """
        self.options = options
        self.streams: dict[Guest, str] = {}  # and the session of each
        self._by_session: dict[str, Guest] = {}
        mark = options.max_memory or memory_of_machine() * 8 // 10
        self._memory = MemoryMark(mark, lambda: [host.broker for host in self.hosts], self._warn)
        self._memory_watch = LoopingCall(self._memory.look)
        self._memory_watch.clock = reactor
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = most_connections(options.max_connections, descriptors)
        self.arriving = Arriving(options.max_arriving)
        self.lobby = Lobby(most, options.max_waiting, self._warn)
        self._reactor = reactor
        #: Streams read for themselves where the reactor lets them: `broker.net.reactor`.
        self.intake: Intake | None = reactor if hasattr(reactor, "read_from") else None
        self._sessions = count(1)
        self._ports: list[IListeningPort] = []
        #: Who takes over settings that change while the broker runs, see `broker.reload`.
        self.keepers = [
            Keeper((*OF_CONNECTIONS, *OF_ENTRANCE, "policies", *OF_RIGHTS), self._prepare)
        ]
        self._all_gone: Deferred[None] | None = None
        try:
            self._authentication = Authentication(options, reactor, lambda: self.host.begin())
        except OptionsError as error:
            raise CannotStart(str(error)) from None
        self.hosts = self._open_hosts()
        self.host = self.hosts[0]  # the broker's own, where everybody comes first
        self._names = self._join()
        for host in self.hosts:
            self.keepers.extend(host.keepers)

    def _join(self) -> Hosts:
        """Return all virtual hosts, by what clients call them."""
        return Hosts(self.host.host, [each.host for each in self.hosts[1:]])

    def _open_hosts(self) -> list[VirtualHost]:
        """Open the store of each virtual host. Raises `CannotStart`, with none open, unless all are had."""
        streams = Streams(self._addresses, self._dismiss, partial(PeerDoor, self))
        hosts: list[VirtualHost] = []
        section = ""  # whose it is
        try:
            hosts.append(VirtualHost(self.options, self._reactor, streams))
            for name, options in self.options.hosts.items():
                section = f"[virtual_host.{name}]: "
                hosts.append(VirtualHost(options, self._reactor, streams))
        except (CannotStart, OptionsError) as error:
            for host in hosts:
                host.close()
            raise CannotStart(f"{section}{error}") from error
        return hosts

    def _prepare(self, options: Options) -> Commit:
        """Return what makes other settings hold: `broker.reload`. Raises `OptionsError`."""
        check_listeners(options)
        of_each = (options, *options.hosts.values())
        commits = [host.prepare(each) for host, each in zip(self.hosts, of_each, strict=True)]

        def commit() -> None:
            self.options = options
            for take_over in commits:
                take_over()
            self._names = self._join()

        return commit

    def listen(self) -> list[str]:
        """Accept clients; return the URL of each listener. Raises `CannotStart` unless all are had."""
        listeners = self.options.listeners
        try:
            for listener in listeners:
                self._ports.append(self._open(listener))
        except CannotStart:
            self._stop_listening()
            self._close_hosts()
            raise
        self._memory_watch.start(WATCH_EVERY, now=False)
        urls = [url_of(*each) for each in zip(self._ports, listeners, strict=True)]
        for host in self.hosts:
            host.start(urls[0])
        return urls

    def _open(self, listener: Listener) -> IListeningPort:
        """Return the port of a listener. Raises `CannotStart`."""
        is_secure = bool(listener.tls_certificate)
        house = StompFactory(self, listener, SecureStream if is_secure else Stream)
        factory: IProtocolFactory = house
        if listener.protocol != "stomp":
            try:
                make = find(listener.protocol, PROTOCOLS, LISTENERS, "protocol")
            except Unknown as error:
                raise CannotStart(f"[[listener]]: {error}, and stomp") from None
            factory = make(house, self._reactor, self.options)
        if is_secure:
            factory, keeper = secured(factory, listener)
            self.keepers.append(keeper)
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

    def _stop_listening(self) -> Deferred[Any]:
        """Take nobody any more. The result comes when every port is closed, in a later pass of the reactor."""
        return DeferredList([maybeDeferred(port.stopListening) for port in self._ports])

    def _warn(self, text: str) -> None:
        """Tell the operator what should not be."""
        self.log.warn("{text}", text=text)

    def startService(self) -> None:
        """Twisted: start, unless `listen` was called before."""
        super().startService()  # type: ignore[no-untyped-call]
        if not self._ports:
            self.log.info("ready on {urls}", urls=", ".join(self.listen()))

    def stopService(self) -> Deferred[None]:
        """Twisted: stop, keeping every promise."""
        super().stopService()  # type: ignore[no-untyped-call]
        closed = self._stop_listening()
        self._authentication.stop()
        if self._memory_watch.running:
            self._memory_watch.stop()
        for host in self.hosts:
            host.hang_up()
            host.begin()
        for stream in list(self.streams):
            stream.say_goodbye()
        for host in self.hosts:
            host.turn.finish()
        gone: Deferred[None] = Deferred()
        if self.streams:
            self._all_gone = gone
            self.call_later(self.options.linger, self._abort_all)
        else:
            gone.callback(None)
        gone.addCallback(lambda _: self._close_hosts())
        return gone.addCallback(lambda _: closed)

    def _close_hosts(self) -> None:
        for host in self.hosts:
            host.close()

    def _abort_all(self) -> None:
        for stream in list(self.streams):
            stream.abort()

    # What the listeners' doors ask for.

    def open_connection(
        self, stream: Guest, dialect: Dialect, lets_anonymous_in: bool
    ) -> Connection:
        """A client has come, to a listener of this dialect."""
        session, host, lobby = self._new_session(stream), self.host.host, self.lobby
        guard = LoginGuard(self._authentication, stream, lets_anonymous_in)
        connection = Connection(
            host,
            session,
            stream,
            dialect,
            Entrance(self._names, guard, stream.move),
            log=ClientLog(session, stream, lambda: self.options.log_level == "debug"),
            let_in=partial(lobby.let_in, stream),
            arriving=self.arriving,
        )
        lobby.come(stream, stream.address, connection.turn_away, host.turn.now)
        return connection

    def open_link(self, stream: Guest, host: VirtualHost, peer: Peer) -> Connection:
        """A peer that was dialled has answered."""
        return host.open_link(stream, peer, self._new_session(stream))

    def _new_session(self, stream: Guest) -> str:
        session = self.streams[stream] = f"{self.host.name}-{next(self._sessions)}"
        self._by_session[session] = stream
        return session

    def _addresses(self) -> dict[str, str]:
        """Return where everybody is, by session."""
        return {session: stream.address for stream, session in self.streams.items()}

    def forget(self, stream: Guest) -> None:
        """A client has gone."""
        self._by_session.pop(self.streams.pop(stream, ""), None)
        self.lobby.leave(stream)
        if self._all_gone is not None and not self.streams:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    def _dismiss(self, session: str, error: StompError) -> None:
        """End the connection of a session, if it is there."""
        stream = self._by_session.get(session)
        if stream is not None:
            stream.dismiss(error)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run a callable after a while."""
        self._reactor.callLater(seconds, call)


def make_service(options: Options, reactor: Any) -> BrokerService:
    """Return the broker as a service. Raises `CannotStart`."""
    return BrokerService(options, reactor)


def secured(factory: IProtocolFactory, listener: Listener) -> tuple[IProtocolFactory, Keeper]:
    """Return what speaks TLS to the streams of a factory, and who reads its files anew. Raises `CannotStart`."""
    from broker.net import tls  # brings OpenSSL, which few brokers need

    where = f"TLS on {listener.host}:{listener.port}: "
    try:
        context = tls.server_context(
            listener.tls_certificate,
            listener.tls_key,
            listener.tls_client_authorities,
            listener.tls_client,
        )
    except tls.CannotSecure as error:
        raise CannotStart(f"{where}{error}") from None
    return tls.accepting(factory, context), reading_files(context.prepare, tls.CannotSecure, where)


def url_of(port: IListeningPort, listener: Listener) -> str:
    """Return the URL of a listener, whose port may have been chosen by the system."""
    address = port.getHost()
    assert isinstance(address, IPv4Address | IPv6Address)
    host = f"[{address.host}]" if ":" in address.host else address.host
    scheme = listener.protocol
    if listener.tls_certificate:
        scheme = "https" if scheme == "http" else f"{scheme}+ssl"
    return f"{scheme}://{host}:{address.port}"


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
