"""Requests to the broker: who may, how many at once, and what becomes of those that go wrong."""

from __future__ import annotations

import json

import pytest

from broker.admin import office
from broker.core.lane import WINDOW
from broker.options import Options
from tests.admin.house import REPLIES, Staffed

RESULT = b'{"jsonrpc":"2.0","method":"rpc.ping","id":1}'


@pytest.fixture
def house() -> Staffed:
    """Return a house."""
    return Staffed()


def test_nobody_we_know_is_no_administrator() -> None:
    """A request that no client has sent just now, but the schedule, say; he is not even one of everybody."""
    for people in ("alice", "*", ""):
        house = Staffed(Options(users="users", administrators=people))
        assert house.call("queues")["code"] == -32003
        assert house.call("rpc.ping") == "pong"


def test_where_no_logins_are_checked_everybody_is_one() -> None:
    assert Staffed(Options()).call("queues") != []


def test_cancelled_it_stops_where_it_is(house: Staffed) -> None:
    """What is done stays done, and nobody is told."""
    a, b = house.queue(), house.queue("b")
    house.fill(a, *[str(number) for number in range(3 * WINDOW)])
    house.begin_write()
    house.ask("move", "a", "b")
    house.go_on()  # as far as the disk is
    house.ask("rpc.cancel", "1")
    house.end_write()
    house.settle_all()
    assert house.answers() == [None]
    assert 0 < b.waiting < 3 * WINDOW
    assert a.waiting + b.waiting == 3 * WINDOW
    assert house.call("rpc.stats")["running"] == 1  # itself


def test_too_many_at_once_are_told_to_come_again(
    house: Staffed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and those that were taken are answered."""
    monkeypatch.setattr(office, "MOST_WAITING", 10_000)
    for _ in range(20):
        house.ask("rpc.ping")
    early = house.answers()
    assert {answer["code"] for answer in early} == {-32001}
    assert early[0]["data"] == {"retry_after": office.RETRY_AFTER}
    house.settle_all()
    late = house.answers()
    assert late == ["pong"] * (20 - len(early))
    assert late
    assert house.call("rpc.ping") == "pong"


def test_our_own_fault_is_answered_and_not_hidden(
    house: Staffed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks hears that it failed, and the log what it was."""
    house.fill(house.queue(), "1")
    monkeypatch.setattr(house.queue(), "taken", lambda lane, message: 1 / 0)
    house.ask("purge", "a")
    with pytest.raises(ZeroDivisionError):
        house.settle_all()
    house.settle_all()
    [answer] = house.answers()
    assert answer["code"] == -32603
    assert house.call("rpc.ping") == "pong"


def test_an_answer_comes_though_memory_and_store_are_full(house: Staffed) -> None:
    """Whoever makes room must hear that there is some."""
    house.broker.memory.room = 0
    house.journal.set_room(0)
    assert house.call("rpc.ping") == "pong"
    request = house.text(
        RESULT.decode(), durable=False, reply_to=REPLIES, persistent="true", correlation_id="x"
    )
    house.broker.routes.find("/queue/rpc.broker").put(request)
    house.settle_all()
    assert house.answers() == ["pong"]


def test_an_answer_that_comes_too_late_is_not_sent(house: Staffed) -> None:
    request = house.text(
        json.dumps({"jsonrpc": "2.0", "method": "queues", "id": 1}),
        durable=False,
        reply_to=REPLIES,
        expires=str(house.broker.now + 10),
    )
    house.broker.routes.find("/queue/rpc.broker").put(request)
    house.broker.now += 20
    house.settle_all()
    assert house.answers() == []


def test_a_persistent_request_has_a_persistent_answer(house: Staffed) -> None:
    """It waits in the caller's queue, on disk."""
    away = house.queue("away")
    request = house.text(
        RESULT.decode(), durable=False, reply_to=away.destination, persistent="true"
    )
    house.broker.routes.find("/queue/rpc.broker").put(request)
    house.settle_all()
    assert len(house.on_disk(away)) == 1
