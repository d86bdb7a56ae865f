"""Who reads for the threads that wait: the lead, offered and handed on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from rpc.address import parse_address
from rpc.blocking.line import Line
from rpc.calling.caller import CALL
from rpc.calling.calls import Call
from rpc.calling.options import CallOptions
from tests.processes import PATIENCE
from tests.rpc.canned import CONNECTED, CannedBroker


@pytest.fixture
def line() -> Iterator[Line]:
    """Return the line of a client whose broker never answers a call."""
    with CannedBroker(CONNECTED, hang_up=False) as broker:
        line = Line(
            parse_address(broker.url), "demo", durable=False, heart_beat=0, connect_timeout=PATIENCE
        )
        yield line
        line.close()


def begin(line: Line, timeout: float | None = None) -> Call:
    return line.begin("echo", b"[1]", CallOptions(timeout=timeout), CALL)


def is_woken(parked: threading.Lock | None) -> bool:
    assert parked is not None
    return parked.acquire(blocking=False)


def waits_no_longer(line: Line, call: Call) -> None:
    line.wait_for(call, 0.0)


def is_cancelled(line: Line, call: Call) -> None:
    line.give_up(call)


def has_expired(line: Line, call: Call) -> None:
    call.deadline = 0.0
    line._expire()
    line.wait_for(call, float("inf"))
    assert call.done


@pytest.mark.parametrize("declines", [waits_no_longer, is_cancelled, has_expired])
def test_a_lead_that_is_not_taken_is_offered_to_the_next(
    line: Line, declines: Callable[[Line, Call], None]
) -> None:
    """The only waiter of a call was woken to lead at the moment at which it gave up."""
    leads, first, second = begin(line), begin(line), begin(line)
    assert line._park(leads) is None
    parked = [line._park(first), line._park(second)]
    line._leave_lead()
    assert [is_woken(each) for each in parked] == [True, False]
    declines(line, first)
    assert is_woken(parked[1])


def test_nobody_is_offered_the_lead_after_having_left(line: Line) -> None:
    leads, first, second = begin(line), begin(line, timeout=0.05), begin(line)
    assert line._park(leads) is None
    line.wait_for(first, float("inf"))
    assert first.done
    parked = line._park(second)
    line._leave_lead()
    assert is_woken(parked)


def test_a_lead_that_was_taken_is_offered_to_nobody_else(line: Line) -> None:
    leads, first, second = begin(line), begin(line), begin(line)
    assert line._park(leads) is None
    parked = [line._park(first), line._park(second)]
    line._leave_lead()
    assert line._park(first) is None  # it leads
    line.give_up(first)
    assert [is_woken(each) for each in parked] == [True, False]
    line._leave_lead()
    assert is_woken(parked[1])
