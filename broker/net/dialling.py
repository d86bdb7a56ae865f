"""Links to other brokers, dialled as long as the broker runs, over the transport that the URL of each names.

Those here are known by name; others are found among the entry points of the group `hoofbeat.transports`, so that any
package can bring one: docs/write-a-transport.md. STOMP over TCP and TLS is here: Twisted's `ClientService` for each.

A link that was lost, or did not come about, is dialled again after a while that doubles up to a few seconds, and is
cut by chance, so that peers do not come back to a restarted broker all at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import urlsplit

from twisted.application.internet import ClientService, backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from broker.net.plugged import Unknown, find
from broker.net.secure import SecureStream
from broker.net.stream import House, Stream
from broker.peering.dialled import Dialled
from broker.peering.peer import Peer

DEFAULT_PORT = 61613
LINGER = 2.0  # seconds that a peer has to hang up after the last word
FIRST, MOST, CHANCE = 0.1, 5.0, 0.2  # seconds until a link is dialled again, and what chance adds


#: Makes what keeps a link: of a peer, of what a connection needs of the broker, and of Twisted's reactor.
Dial = Callable[[Peer, House, Any], Service]

#: What comes with the broker: scheme of the URL → module:function.
TRANSPORTS = {
    "stomp": "broker.net.dialling:dial_stomp",
    "stomp+ssl": "broker.net.dialling:dial_stomp",
    "http": "broker.net.httplink:dial_http",
    "https": "broker.net.httplink:dial_http",
}
GROUP = "hoofbeat.transports"  # of entry points: scheme = module:function(peer, house, reactor)


_wait = backoffPolicy(FIRST, MOST, 2.0, lambda: random.random() * CHANCE)  # noqa: S311  # no secret


def pause(peer: Peer) -> float:
    """Return the seconds until a peer is dialled again."""
    return _wait(peer.failures)


class CannotDial(Exception):
    """A peer can never be reached so, in one line for the operator."""


@runtime_checkable
class Renewable(Protocol):
    """A link with files that can be read anew: certificates. One of another package's need not be."""

    def prepare(self) -> Callable[[], None]:
        """Read them; return what takes over what they hold, for links made from then on. Raises `CannotDial`."""


class Place(NamedTuple):
    """Where a peer is."""

    host: str
    port: int
    is_secure: bool


class Links(Factory):
    """Makes a stream for each link to one peer."""

    noisy = False

    def __init__(self, make_stream: Callable[[House, float], Stream], house: House) -> None:
        self._make_stream = make_stream
        self._house = house

    def buildProtocol(self, address: object) -> Stream:
        """Twisted: the peer has answered the phone."""
        return self._make_stream(self._house, LINGER)


class SecureLink(SecureStream):
    """One link over TLS: the peer is told why it did not come about, which TCP does not know."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: it is over."""
        error = reason.value
        if isinstance(self._connection, Dialled) and not isinstance(error, ConnectionClosed):
            self._connection.explain(f"TLS: {told(error)}")
        super().connectionLost(reason)


def told(error: BaseException | None) -> str:
    """Return why TLS failed: OpenSSL's reasons, where it is its error."""
    found = error.args[0] if error is not None and error.args else None
    if isinstance(found, list) and all(isinstance(each, tuple) for each in found):
        return "; ".join(str(each[-1]) for each in found)
    return str(error)


@implementer(IStreamClientEndpoint)
class Watched:
    """An endpoint that tells the peer why it could not be reached."""

    def __init__(self, endpoint: IStreamClientEndpoint, peer: Peer) -> None:
        self._endpoint = endpoint
        self._peer = peer

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Twisted: dial."""
        return self._endpoint.connect(factory).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        self._peer.failed(failure.getErrorMessage())
        return failure


def dial(peer: Peer, house: House, reactor: Any) -> Service:
    """Return the service that keeps a link to a peer, by the scheme of its URL. Raises `CannotDial`."""
    scheme = urlsplit(peer.settings.url).scheme
    try:
        dial_so: Dial = find(scheme, TRANSPORTS, GROUP, "transport")
    except Unknown as error:
        raise CannotDial(f"[peer.{peer.name}]: {error}") from None
    return dial_so(peer, house, reactor)


def dial_stomp(peer: Peer, house: House, reactor: Any) -> Service:
    """Return the service that keeps a link to a peer over TCP, or TLS. Raises `CannotDial`."""
    place = read_place(peer.settings.url)
    endpoint = Watched(HostnameEndpoint(reactor, place.host, place.port), peer)
    if not place.is_secure:
        links = Links(Stream, house)
        return ClientService(endpoint, links, lambda _: pause(peer), clock=reactor)
    from broker.net import tls  # brings OpenSSL, which few brokers need

    context = Certificates(peer, place.host)
    factory = tls.dialling(Links(SecureLink, house), context.current)
    return SecureService(context, endpoint, factory, lambda _: pause(peer), clock=reactor)


class Certificates:
    """What a link to a peer shows and demands over TLS."""

    def __init__(self, peer: Peer, host: str) -> None:
        """Read the files of a peer, which is `host` to who signs certificates. Raises `CannotDial`."""
        from broker.net import tls

        self._peer = peer
        settings = peer.settings
        try:
            self.current = tls.client_context(
                host, settings.tls_authorities, settings.tls_certificate, settings.tls_key
            )
        except tls.CannotSecure as error:
            raise self._named(error) from None

    def prepare(self) -> Callable[[], None]:
        """Read the files anew; return what takes over what they hold. Raises `CannotDial`."""
        from broker.net import tls

        try:
            return self.current.prepare()
        except tls.CannotSecure as error:
            raise self._named(error) from None

    def _named(self, error: Exception) -> CannotDial:
        return CannotDial(f"[peer.{self._peer.name}]: {error}")


class SecureService(ClientService):
    """Keeps a link over TLS."""

    def __init__(self, certificates: Certificates, *rest: Any, **more: Any) -> None:
        """`rest` and `more` are Twisted's."""
        super().__init__(*rest, **more)
        self.prepare = certificates.prepare


def read_place(url: str) -> Place:
    """Return where the URL of a peer leads."""
    parts = urlsplit(url)
    return Place(parts.hostname or "", parts.port or DEFAULT_PORT, parts.scheme == "stomp+ssl")
