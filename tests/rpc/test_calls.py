"""The table of pending calls. Time is passed in."""

from rpc.calls import Calls
from rpc.errors import ConnectionLost


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
    soon, later, never = calls.open(10.0), calls.open(20.0), calls.open(None)
    assert calls.expire(9.999) == []
    assert calls.expire(10.0) == [soon]
    assert soon.done
    assert soon.overdue
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


def test_a_lost_connection_ends_every_call() -> None:
    calls = Calls("c")
    pending = [calls.open(None), calls.open(5.0)]
    reason = ConnectionLost("gone", sent=True)
    assert calls.abandon(reason) == pending
    assert all(call.done and call.lost is reason for call in pending)
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
