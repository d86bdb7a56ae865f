"""Who guesses waits longer and longer; who does not, not longer than he must. Time is passed in."""

from __future__ import annotations

from broker.auth.throttle import MOST, Throttle


def test_some_failures_are_forgiven_then_it_takes_longer_and_longer() -> None:
    throttle = Throttle(5)
    waits = []
    for _ in range(12):
        waits.append(throttle.wait("a", "alice", 100.0))
        throttle.failed("a", "alice", 100.0)
    assert waits == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 5, 5]
    assert throttle.wait("a", "bob", 100.0) == 5  # whoever else is there
    assert throttle.wait("b", "alice", 100.0) == 0
    assert throttle.wait("a", "alice", 159.0) == 5
    assert throttle.wait("a", "alice", 160.1) == 0


def test_who_was_right_before_has_failures_of_his_own() -> None:
    throttle = Throttle(5)
    throttle.succeeded("a", "web")
    for _ in range(100):
        throttle.failed("a", "cron", 0.0)
    assert throttle.wait("a", "web", 1.0) == 0
    assert throttle.wait("a", "new", 1.0) == 5
    for _ in range(5):
        throttle.failed("a", "web", 1.0)
    assert throttle.wait("a", "web", 1.0) == 1
    throttle.succeeded("a", "web")  # in between, which does not help who guesses
    assert throttle.wait("a", "web", 1.0) == 1
    assert throttle.wait("b", "web", 1.0) == 0


def test_as_many_as_one_likes() -> None:
    throttle = Throttle(0)
    for _ in range(100):
        throttle.failed("a", "alice", 0.0)
    assert throttle.wait("a", "alice", 0.0) == 0


def test_what_it_remembers_is_bounded() -> None:
    throttle = Throttle(5)
    for number in range(3 * MOST):
        throttle.failed(f"{number}", "x", 0.0)
        throttle.succeeded(f"{number}", "x")
    assert len(throttle._failures) <= MOST
    assert len(throttle._right) <= MOST
