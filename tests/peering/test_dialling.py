"""A peer that is away for long: it is dialled again and again, never often, and the operator hears of it once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from broker.net.dialling import CHANCE, FIRST, MOST, CannotDial, dial, read_place
from broker.net.stream import House
from tests.peering.sites import Site

HOUR = 3600
SLOW = 1.0  # seconds that a call takes with this clock, which goes in quarters of a second


class Nowhere(MemoryReactorClock):
    """A reactor whose time passes as it is told, and in whose world nobody takes a call."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dialled: list[float] = []  # when somebody was called

    def connectTCP(self, host: str, port: int, factory: Any, *rest: Any, **more: Any) -> Any:  # noqa: N802
        self.dialled.append(self.seconds())
        refused = Failure(ConnectionRefusedError())  # type: ignore[no-untyped-call]
        factory.clientConnectionFailed(None, refused)


@pytest.fixture
def site() -> Site:
    return Site("A", "B", "stomp://127.0.0.1")


def test_an_outage(site: Site) -> None:
    """Quickly at first, then every few seconds, for a day; what is sent meanwhile waits."""
    reactor = Nowhere()
    service = dial(site.peer, cast(House, None), reactor)
    service.startService()  # type: ignore[no-untyped-call]
    for _ in range(4 * HOUR):
        reactor.advance(0.25)
    gaps = [after - before for before, after in pairwise(reactor.dialled)]
    assert all(FIRST <= gap <= MOST + CHANCE + SLOW for gap in gaps)
    assert gaps[0] < gaps[3] < gaps[6]
    assert min(gaps[10:]) >= MOST
    for _ in range(23 * HOUR // 2):  # the rest of the day, in greater steps
        reactor.advance(2)
    often = len(reactor.dialled) - len(gaps)
    assert 23 * HOUR / (MOST + CHANCE + 8 * SLOW) < often < 23 * HOUR / MOST
    assert site.told == ["Connection was refused by other side."]
    site.peer.failures = 1_000_000  # weeks later
    before = len(reactor.dialled)
    for _ in range(40):
        reactor.advance(1)
    assert 4 <= len(reactor.dialled) - before <= 8
    site.peer.works()
    before = len(reactor.dialled)
    for _ in range(40):
        reactor.advance(0.25)
    assert len(reactor.dialled) - before >= 4
    for number in range(2000):
        site.send("/peer/B/queue/x", b"%d" % number)
    assert site.peer.queue.waiting == 2000
    service.stopService()  # type: ignore[no-untyped-call]
    before = len(reactor.dialled)
    reactor.advance(HOUR)
    assert len(reactor.dialled) == before


def test_places() -> None:
    assert read_place("stomp://b") == ("b", 61613, False)
    assert read_place("stomp+ssl://[::1]:7") == ("::1", 7, True)


def test_no_transport() -> None:
    with pytest.raises(CannotDial, match="unknown transport 'pigeon'"):
        dial(Site("A", "B", "pigeon://b").peer, cast(House, None), Nowhere())
