"""The table of pending calls. Time is passed in."""

import pytest

from rpc.calling.calls import Calls
from rpc.calling.options import OnLoss
from rpc.errors import BrokerRefused, ConnectionLost, Timeout


def test_a_reply_ends_the_call_it_belongs_to() -> None:
    calls = Calls("c")
    first, second = calls.open(10.0), calls.open(10.0)
    assert first.call_id != second.call_id
    assert calls.answer(second.call_id, b"two") is second
    assert (second.done, second.reply) == (True, b"two")
    assert not first.done
    assert list(calls) == [first]


def test_two_clients_never_share_an_id() -> None:
    assert Calls("a").open(None).call_id != Calls("b").open(None).call_id


def test_a_call_expires_at_its_deadline_and_not_before() -> None:
    calls = Calls("c")
    soon, later, never = calls.open(10.0, "whee", 5.0), calls.open(20.0), calls.open(None)
    assert calls.next_deadline() == 10.0
    assert calls.expire(9.999) == []
    assert calls.expire(10.0) == [soon]
    assert soon.done
    with pytest.raises(Timeout, match=r"'whee' within 5.0 s"):
        soon.result()
    assert calls.expire(1e9) == [later]
    assert list(calls) == [never]


def test_late_and_unknown_replies_are_counted_and_dropped() -> None:
    calls = Calls("c")
    call = calls.open(1.0)
    calls.expire(1.0)
    assert calls.answer(call.call_id, b"late") is None
    assert calls.answer("never-heard-of", b"") is None
    assert calls.late == 2
    assert call.reply == b""


def test_a_second_reply_to_one_call_is_late() -> None:
    calls = Calls("c")
    call = calls.open(1.0)
    calls.answer(call.call_id, b"first")
    assert calls.answer(call.call_id, b"second") is None
    assert call.reply == b"first"
    assert calls.late == 1


def test_a_lost_connection_ends_the_calls_that_may_have_left() -> None:
    """One that certainly never left is kept for the next connection."""
    calls = Calls("c")
    left, stayed = calls.open(None), calls.open(5.0)
    left.place, stayed.place = 0, 100
    cause = OSError("reset")
    reason = ConnectionLost("gone", sent=True)
    reason.__cause__ = cause
    assert calls.interrupt(reason, lambda place: place < 50) == [left]
    with pytest.raises(ConnectionLost, match="gone") as caught:
        left.result()
    assert caught.value.sent
    assert caught.value is not reason  # each call raises its own
    assert caught.value.__cause__ is cause
    assert calls.to_send() == [stayed]
    assert not stayed.done


def test_what_was_sent_waits_or_is_sent_again_if_its_caller_wants_it() -> None:
    calls = Calls("c")
    waits = calls.open(None, on_loss=OnLoss.WAIT)
    again = calls.open(None, on_loss=OnLoss.RESEND)
    reason = ConnectionLost("gone", sent=True)
    assert calls.interrupt(reason, lambda place: True) == []
    assert calls.to_send() == [again]
    assert calls.interrupt(reason, lambda place: False) == []
    assert calls.to_send() == [again]  # once sent, always sent
    assert calls.answer(waits.call_id, b"") is waits


@pytest.mark.parametrize("keeps", [True, False])
def test_a_refusal_or_an_end_ends_every_call(keeps: bool) -> None:
    """The broker does not say which call it refuses, and none may hang."""
    calls = Calls("c")
    pending = [calls.open(None), calls.open(5.0, on_loss=OnLoss.RESEND)]
    reason = BrokerRefused("no", sent=True) if keeps else ConnectionLost("closed", sent=True)
    assert calls.interrupt(reason, lambda place: False, keeps) == pending
    for call in pending:
        with pytest.raises(type(reason)) as caught:
            call.result()
        assert not caught.value.sent
    assert len(calls) == 0
    assert calls.open(None).call_id not in {call.call_id for call in pending}


def test_a_forgotten_call_is_no_longer_pending() -> None:
    calls = Calls("c")
    call = calls.open(None)
    calls.forget(call)
    calls.forget(call)
    assert len(calls) == 0
    assert calls.answer(call.call_id, b"") is None
    assert (calls.opened, calls.late) == (1, 1)
