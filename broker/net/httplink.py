"""A link to another broker over HTTP: POST what we say, GET what it says, for where only HTTP passes.

One POST and one GET are under way at most, so both directions keep their order. Whatever fails ends the link, and it
is dialled again after a while: what was on its way is sent again, and the receiver knows it. The other end is
`broker.net.http`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from broker.net.carried import Carried
from broker.net.dialling import Certificates, pause
from broker.net.stream import House
from broker.peering.peer import Peer

PIECE = 1024 * 1024  # bytes that one POST carries
ANSWER_WITHIN = 60.0  # seconds: a GET is answered after 20 at the latest
CONNECT_WITHIN = 10.0  # seconds


class LinkFailed(Exception):
    """The other end has answered with something else than it should."""


@implementer(IBodyProducer)
class Body:
    """Bytes that a POST says."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Twisted: write it."""
        consumer.write(self._data)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """Twisted: it is written already."""

    def resumeProducing(self) -> None:
        """Twisted: it is written already."""

    def stopProducing(self) -> None:
        """Twisted: it is written already."""


class HttpLink(Service):
    """Keeps one link."""

    def __init__(self, peer: Peer, house: House, reactor: Any, policy: IPolicyForHTTPS) -> None:
        """`policy` says whose certificates are believed."""
        self._peer = peer
        self._house = house
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.retryAutomatically = (
            False  # what an answer said that was lost, the next one does not say
        )
        self._agent = Agent(reactor, policy, CONNECT_WITHIN, pool=self._pool)
        self._again: IDelayedCall | None = None

    def startService(self) -> None:
        """Twisted: dial."""
        super().startService()
        self._dial()

    def stopService(self) -> None:
        """Twisted: dial no more. The broker ends what there is."""
        super().stopService()
        if self._again is not None and self._again.active():
            self._again.cancel()
        self._pool.closeCachedConnections()

    def _dial(self) -> None:
        url = self._peer.settings.url.rstrip("/").encode()
        Session(url, self._agent, self._house, self._reactor, self._ended)

    def _ended(self) -> None:
        if self.running:
            self._again = self._reactor.callLater(pause(self._peer), self._dial)


class Session:
    """One link, from the first POST to what ends it."""

    def __init__(
        self, url: bytes, agent: Agent, house: House, reactor: Any, ended: Callable[[], None]
    ) -> None:
        """`ended` is called at the end."""
        self._url = url
        self._link = b""  # where it goes on, once that is known
        self._agent = agent
        self._reactor = reactor
        self._ended: Callable[[], None] | None = ended
        self._posting = False
        self._read: bytes = b""  # what the connection has yet to take
        self._carried = Carried(house, url.decode(), self._changed)

    def _changed(self) -> None:
        """There is something to say, or what was heard can be taken, or all is over."""
        if self._carried.is_over:
            self._end()
            return
        if self._read and self._carried.is_open_to_more:
            data, self._read = self._read, b""
            self._take(data)
        if self._carried.has_output and not self._posting:
            self._posting = True
            data = self._carried.take(PIECE)
            target = self._link or self._url + b"/link"
            self._ask(b"POST", target, Body(data)).addCallback(self._posted).addErrback(self._lost)

    def _ask(self, method: bytes, url: bytes, body: Body | None = None) -> Deferred[IResponse]:
        asked: Deferred[IResponse] = self._agent.request(method, url, Headers({}), body)
        return asked.addTimeout(ANSWER_WITHIN, self._reactor)

    def _posted(self, response: IResponse) -> Deferred[None] | None:
        self._posting = False
        if not self._link:
            places = response.headers.getRawHeaders(b"location")
            if response.code != 201 or not places:
                raise LinkFailed(f"{self._url.decode()} answers {response.code}: no hoofbeat there")
            self._link = self._url + places[0]
            self._listen()
        elif response.code != 204:
            raise LinkFailed(f"the peer answers {response.code}")
        return readBody(response).addCallback(lambda _: self._changed())

    def _listen(self) -> None:
        if self._ended is not None:
            heard = self._ask(b"GET", self._link).addCallback(self._heard)
            heard.addErrback(self._lost)

    def _heard(self, response: IResponse) -> Deferred[None]:
        if response.code != 200:
            raise LinkFailed(f"the peer answers {response.code}: the link is over")
        return readBody(response).addCallback(self._take)

    def _take(self, data: bytes) -> None:
        if not self._carried.is_open_to_more:
            self._read = data
            return
        if data:
            self._carried.feed(data)
        self._listen()

    def _lost(self, failure: Failure) -> None:
        self._end(failure.getErrorMessage() or "the answer did not come")

    def _end(self, why: str = "") -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self._carried.end(why)
            ended()


@implementer(IPolicyForHTTPS)
class Believes:
    """Twisted's way to say whose certificates are believed, and which one is shown."""

    def __init__(self, context: IOpenSSLClientConnectionCreator) -> None:
        """`context` is that of the one host that is asked."""
        self._context = context

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """Twisted: return what a connection to a host demands."""
        return self._context


class SecureHttpLink(HttpLink):
    """Keeps one link over HTTPS."""

    def __init__(self, certificates: Certificates, peer: Peer, house: House, reactor: Any) -> None:
        super().__init__(peer, house, reactor, Believes(certificates.current))
        self.prepare = certificates.prepare


def dial_http(peer: Peer, house: House, reactor: Any) -> Service:
    """Return the service that keeps a link to a peer over HTTP or HTTPS. Raises `CannotDial`."""
    parts = urlsplit(peer.settings.url)
    if parts.scheme == "http":
        return HttpLink(peer, house, reactor, BrowserLikePolicyForHTTPS())
    return SecureHttpLink(Certificates(peer, parts.hostname or ""), peer, house, reactor)
