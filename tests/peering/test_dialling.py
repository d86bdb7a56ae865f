"""A peer that is away for long: it is dialled again and again, never often, and the operator hears of it once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from broker.net.dialling import CHANCE, FIRST, MOST, CannotDial, dial, read_place
from broker.net.stream import House
from tests.peering.sites import Site

HOUR = 3600


class Resolver:
    """Every name is this machine's."""

    def resolveHostName(  # noqa: N802  # Twisted's name for it
        self, receiver: Any, name: str, port: int = 0, *rest: object
    ) -> object:
        receiver.resolutionBegan(self)
        receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", port))
        receiver.resolutionComplete()
        return self


@implementer(IReactorPluggableNameResolver)
class Nowhere(MemoryReactorClock):
    """A reactor whose time passes as it is told, and in whose world nobody takes a call."""

    nameResolver = Resolver()  # noqa: N815

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[float] = []  # when somebody was called

    def installNameResolver(self, resolver: object) -> object:  # noqa: N802
        return resolver

    def connectTCP(self, host: str, port: int, factory: Any, *rest: Any, **more: Any) -> None:  # noqa: N802
        self.calls.append(self.seconds())
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))


@pytest.fixture
def site() -> Site:
    return Site("A", "B", "stomp://b.example:61613")


def test_an_outage(site: Site) -> None:
    """Quickly at first, then every few seconds, for hours; what is sent meanwhile waits."""
    reactor = Nowhere()
    service = dial(site.peer, cast(House, None), reactor)
    service.startService()
    for _ in range(4 * HOUR):
        reactor.advance(0.25)
    gaps = [after - before for before, after in pairwise(reactor.calls)]
    assert all(FIRST <= gap <= MOST + CHANCE + 0.5 for gap in gaps)
    assert gaps[0] < gaps[3] < gaps[6]
    assert min(gaps[10:]) >= MOST
    assert site.told == ["no link to the peer B: Connection was refused by other side."]
    site.peer.failures = 1_000_000  # weeks later
    before = len(reactor.calls)
    for _ in range(40):
        reactor.advance(1)
    assert 4 <= len(reactor.calls) - before <= 8
    site.peer.works()
    reactor.advance(10)
    before = len(reactor.calls)
    reactor.advance(1)
    assert len(reactor.calls) > before
    for number in range(2000):
        site.send("/peer/B/queue/x", b"%d" % number)
    assert site.peer.queue.waiting == 2000
    service.stopService()
    before = len(reactor.calls)
    reactor.advance(HOUR)
    assert len(reactor.calls) == before


def test_places() -> None:
    assert read_place("stomp://b") == ("b", 61613, False)
    assert read_place("stomp+ssl://[::1]:7") == ("::1", 7, True)


def test_no_transport() -> None:
    with pytest.raises(CannotDial, match="unknown transport 'pigeon': there are .*stomp"):
        dial(Site("A", "B", "pigeon://b").peer, cast(House, None), Nowhere())
