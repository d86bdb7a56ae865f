"""A measurement with a loss is a failure, not a figure: against checks, and against a broker that errs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from broker.bench import durables, scheduling, timing
from broker.bench.checks import (
    AnyOrder,
    EachInOrder,
    InOrder,
    MeasurementError,
    Stalled,
    Unsupported,
    bodies_match,
)
from broker.bench.generator import KINDS
from broker.bench.numbered import DIGITS, PLACE, Numbered, filler, number
from broker.bench.order import Order
from broker.bench.reqrep import read_messages
from broker.bench.timing import Result
from broker.stomp import Frame
from tests.bench.erring import FAULTS, SPOILED, ErringBroker, Fault

REST = filler(20)


def bodies(*values: int) -> list[bytes]:
    """Return the bodies that carry these numbers."""
    return [number(value) + REST for value in values]


def in_order(first: int = 0) -> InOrder:
    return InOrder("messages", Numbered(PLACE + REST), first)


# --- numbered bytes -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 20, 1_000, 600_000])
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, 0), (8, 13), (995, 1003), (9_999_999, 10_000_001)]
)
def test_a_run_of_frames_is_each_frame_after_the_other(size: int, start: int, stop: int) -> None:
    """Whatever the block that it is cut from holds."""
    rest = filler(size)
    frames = Numbered(b"id:" + PLACE + b"\n\n" + PLACE + rest + b"\0")
    due = [b"id:%010d\n\n%010d%b\0" % (value, value, rest) for value in range(start, stop)]
    assert frames.slice(start, stop) == b"".join(due)
    assert frames.size == 3 + DIGITS + 2 + DIGITS + size + 1


@pytest.mark.parametrize("size", [0, 1_000, 300_000])
@pytest.mark.parametrize(("start", "stop"), [(0, 2), (1, 6), (2, 2), (299, 304), (2999, 3004)])
def test_a_round_of_patterns_shares_a_number(size: int, start: int, stop: int) -> None:
    """Each is there once in every round, in turn."""
    rest = filler(size)
    frames = Numbered(*(PLACE + key + rest for key in (b"a", b"b", b"c")))
    due = [b"%010d%c%b" % (index // 3, b"abc"[index % 3], rest) for index in range(start, stop)]
    assert frames.slice(start, stop) == b"".join(due)


# --- streams in order -----------------------------------------------------------------------------


def test_a_stream_that_is_right_passes_in_batches_of_any_length() -> None:
    check = in_order(first=990)
    for start, stop in [(990, 991), (991, 1005), (1005, 1005), (1005, 3210)]:
        check.take(bodies(*range(start, stop)))
    check.take_large(b"MESSAGE\n\n" + bodies(3210)[0])
    assert check.settled == 3211 - 990
    assert check.missing(3211 - 990) == ""


@pytest.mark.parametrize(
    ("arrived", "complaint"),
    [
        (bodies(0, 1, 3), "number 3 came, 2 was due: 1 lost, or late"),
        (bodies(5), "number 5 came, 0 was due: 5 lost, or late"),
        (bodies(0, 1, 1), "number 1 came again, or late: 2 was due"),
        (bodies(0, 1, 2, 0), "number 0 came again, or late: 3 was due"),
        (bodies(1, 0), "number 1 came, 0 was due: 1 lost, or late"),
        (
            [*bodies(0), number(1) + REST[:-1] + b"?"],
            "number 1 came with other bytes: b'0000000001",
        ),
        ([*bodies(0), number(1) + REST[:-1]], "number 1 came with other bytes"),
        ([*bodies(0), number(1) + REST + b"A"], "number 1 came with other bytes"),
        ([b""], "number 0 came with other bytes: b''"),
        ([number(0)[:4], number(0)[4:] + REST], "number 0 came with other bytes"),
    ],
)
def test_what_is_wrong_with_a_stream(arrived: list[bytes], complaint: str) -> None:
    """A hole, a repeat, another order, a changed, a shortened, a lengthened and a divided body."""
    check = in_order()
    with pytest.raises(MeasurementError) as caught:
        check.take(arrived)
    assert str(caught.value).startswith(f"messages: {complaint}")


@pytest.mark.parametrize("arrived", [bodies(1), bodies(0)[0][:-1:], [b"\0" * 40]])
def test_a_large_message_is_checked_too(arrived: list[bytes] | bytes) -> None:
    frame = arrived if isinstance(arrived, bytes) else arrived[0]
    with pytest.raises(MeasurementError):
        in_order().take_large(b"MESSAGE\n\n" + frame)


def test_a_stream_of_rounds_is_checked_like_any_other() -> None:
    expected = Numbered(PLACE + b"a" + REST, PLACE + b"b" + REST)
    due = [number(value) + key + REST for value in range(5) for key in (b"a", b"b")]
    check = InOrder("messages", expected)
    check.take(due[:3])
    check.take(due[3:6])
    assert check.settled == 6
    for wrong, complaint in [
        (due[7:], "number 3 came with other bytes: b'0000000003b"),
        (due[8:], "number 4 came, 3 was due: 1 lost, or late"),
        (due[4:], "number 2 came again, or late: 3 was due"),
    ]:
        with pytest.raises(MeasurementError, match=complaint):
            check.take(wrong)


def test_the_end_of_a_stream_may_not_be_missing() -> None:
    check = in_order(first=7)
    check.take(bodies(7, 8, 9))
    assert check.missing(5) == "2 of 5 messages never came"


# --- several streams in one -----------------------------------------------------------------------

KEYS = [b"one", b"two"]


def each(*places: tuple[int, bytes]) -> list[bytes]:
    """Return bodies with these numbers and keys."""
    return [number(value) + key + REST for value, key in places]


def test_streams_may_come_mixed_if_each_is_in_order() -> None:
    check = EachInOrder("messages", KEYS, REST)
    check.take([b"two", b"two"], each((0, b"two"), (1, b"two")))
    check.take([b"one", b"two"], each((0, b"one"), (2, b"two")))
    assert (check.settled, check.missing(5)) == (4, "1 of 5 messages never came")


@pytest.mark.parametrize(
    ("key", "bodies"),
    [
        (b"one", each((2, b"one"))),
        (b"one", each((0, b"one"))),
        (b"one", each((1, b"two"))),
        (b"one", [each((1, b"one"))[0][:-1] + b"?"]),
        (b"six", each((0, b"six"))),
    ],
    ids=["lost", "again", "another's", "changed", "unknown"],
)
def test_what_is_wrong_with_one_of_them(key: bytes, bodies: list[bytes]) -> None:
    check = EachInOrder("messages", KEYS, REST)
    check.take(KEYS, each((0, b"one"), (0, b"two")))
    with pytest.raises(
        MeasurementError, match=rf"was due from {key.decode()}, and b'0000"
    ) as caught:
        check.take([key], bodies)
    assert repr(bodies[0][:40]) in str(caught.value)


# --- answers in any order -------------------------------------------------------------------------


def numbers(*values: int) -> list[bytes]:
    return [number(value) for value in values]


def test_answers_may_come_in_any_order() -> None:
    check = AnyOrder("replies")
    check.expect(numbers(*range(5)))
    check.take(numbers(3, 0))
    assert check.missing(5) == "3 of 5 replies never came"
    check.take(numbers(4, 2, 1))
    assert (check.settled, check.missing(5)) == (5, "")


@pytest.mark.parametrize(
    ("batches", "blamed"),
    [
        ([numbers(0, 1, 1)], 1),
        ([numbers(0, 1), numbers(2, 0)], 0),
        ([numbers(0, 7)], 7),
    ],
)
def test_each_answer_comes_once_and_was_asked_for(batches: list[list[bytes]], blamed: int) -> None:
    """Twice in a batch, twice in two, and never asked for."""
    check = AnyOrder("replies")
    check.expect(numbers(0, 1, 2))
    *right, wrong = batches
    for batch in right:
        check.take(batch)
    with pytest.raises(
        MeasurementError, match=f"replies: b'{blamed:010d}' came twice, or was never"
    ):
        check.take(wrong)


# --- correlation ids and bodies -------------------------------------------------------------------


def reply(correlation: int, body: bytes) -> bytes:
    """Return a MESSAGE without its NUL, as a link hands it on."""
    return b"\nMESSAGE\ncorrelation-id:%b\nsubscription:1\n\n%b" % (number(correlation), body)


def read(*frames: bytes) -> list[bytes]:
    return read_messages(list(frames), b"".join(frame + b"\0" for frame in frames), REST)


def test_each_body_belongs_to_its_correlation_id() -> None:
    assert read(*map(reply, (4, 2), bodies(4, 2))) == numbers(4, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        reply(5, bodies(6)[0]),
        reply(5, bodies(5)[0][:-1] + b"?"),
        reply(5, bodies(5)[0] + b"A"),
        reply(5, number(5)),
        b"MESSAGE\nsubscription:1\n\n" + bodies(5)[0],
        b"RECEIPT\nreceipt-id:x\n\n",
    ],
)
def test_a_wrong_answer_is_shown(wrong: bytes) -> None:
    """The body of another, a changed one, one too long or too short, no correlation id, no MESSAGE."""
    with pytest.raises(MeasurementError, match="wrong body or correlation id") as caught:
        read(reply(1, bodies(1)[0]), wrong, reply(2, bodies(2)[0]))
    assert repr(wrong) in str(caught.value)


def test_bodies_match_only_if_there_are_as_many() -> None:
    assert bodies_match([], [], REST)
    assert not bodies_match([], bodies(0), REST)
    assert not bodies_match(numbers(0), [], REST)
    assert not bodies_match(numbers(0), bodies(0, 1), REST)


# --- a broker that errs ---------------------------------------------------------------------------


def order(kind: str, port: int, settings: dict[str, Any], backlog: int) -> Order:
    """Return the order of one short measurement."""
    fields = {
        "address": {"host": "127.0.0.1", "port": port},
        "url": f"stomp://127.0.0.1:{port}",
        "kind": kind,
        "parts": [kind],
        "settings": settings,
        "prefix": "erring",
        "warmup": 0.0,
        "seconds": 0.1,
        "backlog": backlog,
    }
    return Order(fields, lambda done: None)


#: How many messages lie in a broker where the number matters.
BACKLOG = 300
SELECTOR = {"every": 10, "window": 10}
DURABLE = {"consumers": 3, "window": 200, "ack": "client-individual"}
SCHEDULE = {"window": 256, "ack": "client-individual"}
REQREP = {"pairs": 1, "window": 64, "durable": False, "ack": "auto", "body": 100}
LARGE = {"body": 5_000, "window": 1000}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that makes one measurement in this process."""
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody gives orders
    monkeypatch.setattr(timing, "PATIENCE", 1.0)
    monkeypatch.setattr(durables, "PATIENCE", 1.0)
    monkeypatch.setattr(scheduling, "SHORTEST", 0.3)
    monkeypatch.setattr(scheduling, "MARGIN", 0.3)

    def measure(
        kind: str, settings: dict[str, Any], fault: Fault | None, where: str = "", **errs: Any
    ) -> Result:
        result = Result(kind)
        with ErringBroker(fault, where, **errs) as broker:
            try:
                KINDS[kind](order(kind, broker.port, settings, BACKLOG), [result])
            finally:
                assert not broker.durable
        return result

    return measure


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("stream", {}),
        ("stream", LARGE),
        ("stream", {"receipts": True, "window": 256}),
        ("reqrep", REQREP),
        ("reqrep", REQREP | {"window": 1}),
        ("selector", SELECTOR),
        ("durable-topic", DURABLE),
        ("schedule", SCHEDULE),
        ("queues", {"queues": 250}),
    ],
)
def test_a_broker_that_does_not_err_gets_a_figure(
    measured: Callable[..., Result], kind: str, settings: dict[str, Any]
) -> None:
    for _ in range(20):  # on a busy machine a tenth of a second may be nobody's
        result = measured(kind, settings, None, "")
        if result.operations:
            break
    assert result.operations > 0
    assert result.rate == pytest.approx(result.operations / result.seconds)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("kind", "settings", "where"),
    [
        ("stream", {}, ""),
        ("stream", LARGE, ""),
        ("stream", {"receipts": True, "window": 256}, ""),
        ("reqrep", REQREP, "requests"),
        ("reqrep", REQREP, "replies"),
        ("selector", SELECTOR, "erring"),
        ("durable-topic", DURABLE, "erring"),
        ("queues", {"queues": 1}, ""),
    ],
    ids=[
        "plain",
        "large",
        "receipts",
        "requests",
        "replies",
        "selector",
        "durable-topic",
        "queues",
    ],
)
def test_a_broker_that_errs_gets_none(
    measured: Callable[..., Result], kind: str, settings: dict[str, Any], where: str, fault: str
) -> None:
    """One wrong message is enough, whatever is wrong with it."""
    with pytest.raises(MeasurementError):
        measured(kind, settings, FAULTS[fault], where)


@pytest.mark.parametrize("fault", ["lost", "repeated", "changed", "mixed up"])
def test_neither_if_replies_may_come_in_any_order(
    measured: Callable[..., Result], fault: str
) -> None:
    """Several clients share the workers: a hole shows only at the end, when nothing more comes."""
    with pytest.raises(MeasurementError) as caught:
        measured("reqrep", REQREP | {"pairs": 2}, FAULTS[fault], "replies")
    if fault == "lost":
        assert "replies never came within 1 s" in str(caught.value)


def test_several_clients_may_be_answered_in_any_order(measured: Callable[..., Result]) -> None:
    assert measured("reqrep", REQREP | {"pairs": 2}, FAULTS["reordered"], "replies").operations > 0


# --- rows that not every broker can do ------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_selector_leaves_behind_is_checked_too(
    measured: Callable[..., Result], fault: str
) -> None:
    """The 30 that match have come by then, and two that asked."""
    with pytest.raises(MeasurementError, match="messages"):
        measured("selector", SELECTOR, FAULTS[fault], spoiled=50)


def test_a_match_that_never_comes_is_lost(measured: Callable[..., Result]) -> None:
    """The last one: there is no next one that would show the hole, nor does it come without a selector."""
    with pytest.raises(Stalled, match="1 of 300 messages never came within 1 s"):
        measured("selector", SELECTOR, FAULTS["lost"], "erring", spoiled=32)


def test_a_message_that_does_not_match_must_not_come(
    measured: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.bench.selecting.check_ability", lambda *_: None)
    with pytest.raises(MeasurementError, match="a message came that the selector excludes: b'0000"):
        measured("selector", SELECTOR, None, ignores={"selector"})


@pytest.mark.parametrize(
    ("kind", "settings", "errs", "reason"),
    [
        ("selector", SELECTOR, {"ignores": {"selector"}}, "it does not know selectors: MESSAGE"),
        ("selector", SELECTOR, {"reach": 50}, "end of a long queue: 25 of 30 messages never came"),
        (
            "durable-topic",
            DURABLE,
            {"ignores": {"activemq.subscriptionName"}},
            "a subscription is not durable: what was sent meanwhile did not come",
        ),
        (
            "schedule",
            SCHEDULE,
            {"ignores": {"AMQ_SCHEDULED_DELAY"}},
            r"does not keep scheduled messages: one that was due after 0\.3 s came after 0\.0\d s",
        ),
    ],
)
def test_what_a_broker_cannot_do_is_told(
    measured: Callable[..., Result],
    kind: str,
    settings: dict[str, Any],
    errs: dict[str, Any],
    reason: str,
) -> None:
    """That is no failure: nothing was lost that the broker had promised to keep."""
    with pytest.raises(Unsupported, match=reason):
        measured(kind, settings, None, **errs)


@pytest.mark.parametrize("fault", ["lost", "repeated", "changed"])
def test_a_scheduled_message_comes_once_and_unharmed(
    measured: Callable[..., Result], fault: str
) -> None:
    with pytest.raises(MeasurementError):
        measured(
            "schedule", SCHEDULE, FAULTS[fault], spoiled=BACKLOG + SPOILED
        )  # after a rehearsal


def test_scheduled_messages_may_come_in_any_order(measured: Callable[..., Result]) -> None:
    result = measured("schedule", SCHEDULE, FAULTS["reordered"], spoiled=BACKLOG + SPOILED)
    assert result.operations == BACKLOG
    assert result.note.startswith("300 taken at ")
    assert result.latency is not None
    assert 0 < result.latency[0] <= result.latency[2]


def test_a_scheduled_message_that_comes_too_early_is_a_failure(
    measured: Callable[..., Result],
) -> None:
    with pytest.raises(
        MeasurementError, match=r"a message came 0\.[01]\d\d s before its time"
    ) as caught:
        measured("schedule", SCHEDULE, None, hurry=0.1)
    assert not isinstance(caught.value, Unsupported)


def test_a_message_under_another_subscription_s_id_is_noticed(
    measured: Callable[..., Result],
) -> None:
    def misnamed(frame: Frame, following: Frame) -> list[Frame]:
        other = {"subscription": "0000" + "10"[int(frame.headers["subscription"])]}
        return [Frame(frame.command, frame.headers | other, frame.body), following]

    with pytest.raises(MeasurementError, match="not every message is its subscription's"):
        measured("queues", {"queues": 2}, misnamed)


@pytest.mark.parametrize("fault", ["lost", "repeated", "changed", "mixed up"])
def test_a_message_belongs_to_one_of_many_queues(
    measured: Callable[..., Result], fault: str
) -> None:
    with pytest.raises(MeasurementError):
        measured("queues", {"queues": 3}, FAULTS[fault])
