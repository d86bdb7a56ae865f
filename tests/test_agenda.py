"""What is to happen when: called in time, in order, and only as often as it asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.agenda import Agenda, Check


class Clock:
    """An agenda, and the alarm above it: only the last one arranged rings."""

    def __init__(self) -> None:
        self.alarm: float | None = None
        self.arranged = 0
        self.now = 0.0
        self.agenda = Agenda(self._arrange)
        self.called: list[tuple[str, float]] = []

    def _arrange(self, when: float) -> None:
        self.alarm = when
        self.arranged += 1

    def check(self, name: str, *answers: float | None) -> Check:
        """Return a check that notes its calls and gives these answers, the last for ever."""
        left = list(answers)

        def call(now: float) -> float | None:
            self.called.append((name, now))
            return left.pop(0) if len(left) > 1 else left[0]

        return call

    def run_until(self, end: float) -> None:
        """Let time pass; ring when it is due."""
        while self.alarm is not None and self.alarm <= end:
            self.now = max(self.now, self.alarm)
            self.alarm = None
            self.agenda.run(self.now)
        self.now = end


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_to_do_sets_no_alarm(clock: Clock) -> None:
    clock.agenda.run(5.0)
    assert clock.alarm is None


def test_checks_are_called_in_the_order_of_their_moments(clock: Clock) -> None:
    for name, when in (("b", 2.0), ("a", 1.0), ("c", 3.0), ("also b", 2.0)):
        clock.agenda.add(when, clock.check(name, None))
    clock.run_until(10.0)
    assert clock.called == [("a", 1.0), ("b", 2.0), ("also b", 2.0), ("c", 3.0)]
    assert clock.alarm is None


def test_a_check_says_when_it_wants_to_be_called_again(clock: Clock) -> None:
    clock.agenda.add(1.0, clock.check("a", 3.0, 4.0, None))
    clock.run_until(10.0)
    assert clock.called == [("a", 1.0), ("a", 3.0), ("a", 4.0)]


def test_only_an_earlier_moment_sets_the_alarm_anew(clock: Clock) -> None:
    clock.agenda.add(5.0, clock.check("a", None))
    clock.agenda.add(6.0, clock.check("b", None))
    assert (clock.alarm, clock.arranged) == (5.0, 1)
    clock.agenda.add(4.0, clock.check("c", None))
    assert (clock.alarm, clock.arranged) == (4.0, 2)


def test_an_alarm_that_rings_early_is_set_again(clock: Clock) -> None:
    clock.agenda.add(5.0, clock.check("a", None))
    clock.alarm = None
    clock.agenda.run(4.9)
    assert clock.called == []
    assert clock.alarm == 5.0


def test_a_check_that_wants_to_be_called_at_once_lets_others_in(clock: Clock) -> None:
    """It comes back in a millisecond, not in an endless loop."""
    clock.agenda.add(1.0, clock.check("eager", 1.0, 1.0, None))
    clock.agenda.add(1.0, clock.check("other", None))
    clock.run_until(2.0)
    assert [name for name, _ in clock.called] == ["eager", "other", "eager", "eager"]


def test_a_check_that_adds_itself_for_the_past_lets_others_in(clock: Clock) -> None:
    """It is called again when the agenda is run again, not in an endless loop."""

    def add(now: float) -> None:
        clock.called.append(("adds", now))
        clock.agenda.add(now, add)

    clock.agenda.add(1.0, add)
    clock.agenda.add(1.5, clock.check("other", None))
    clock.agenda.run(2.0)
    assert clock.called == [("adds", 2.0), ("other", 2.0)]
    assert clock.alarm == 2.0
    clock.agenda.run(2.0)
    assert clock.called[2:] == [("adds", 2.0)]


@pytest.mark.parametrize("when", [0.0, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("again", [None, 2.0])
def test_a_check_may_add_others_also_for_the_past(
    clock: Clock, when: float, again: float | None
) -> None:
    def add(now: float) -> float | None:
        clock.called.append(("adds", now))
        if len(clock.called) == 1:
            clock.agenda.add(when, clock.check("added", None))
            return again
        return None

    clock.agenda.add(1.0, add)
    clock.run_until(10.0)
    expected = [("adds", 1.0), ("added", max(1.0, when))]
    if again is not None:
        expected.append(("adds", again))
    assert sorted(clock.called, key=lambda call: call[1]) == sorted(
        expected, key=lambda call: call[1]
    )
    assert clock.alarm is None


def test_a_check_that_fails_is_gone_and_the_others_are_called(clock: Clock) -> None:
    """Our own fault reaches the log; heart-beats and timeouts of all others go on."""

    def fail(now: float) -> float | None:
        raise ZeroDivisionError

    ring: Callable[[], None] = lambda: clock.run_until(10.0)  # noqa: E731
    clock.agenda.add(1.0, fail)
    clock.agenda.add(1.0, clock.check("a", None))
    clock.agenda.add(2.0, clock.check("b", None))
    with pytest.raises(ZeroDivisionError):
        ring()
    ring()
    assert [name for name, _ in clock.called] == ["a", "b"]
