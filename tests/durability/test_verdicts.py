"""The verdict on a ledger can be guilty: each kind of fault is found in the smallest ledger that has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.durability.ledger import (
    ACK_CONFIRMED,
    ACKED,
    ANSWERED,
    ASKED,
    BURIED,
    CONFIRMED,
    DELIVERED,
    KILL,
    LEFT,
    NACK,
    NACK_CONFIRMED,
    NACKED,
    RETURN_CONFIRMED,
    RETURNED,
    Ledger,
    Note,
    Place,
    Sent,
)
from tests.durability.verdicts import MOST_DEATHS, answer_to, judge, judge_moves

HERE, THERE = "/queue/here", "there"
NAMES = [("p", number) for number in range(10)]
SENT = [Sent("p", number, HERE, at=1000) for number in range(10)]
#: The message of each number is of a kind of its own.
PLAIN, OTHER, TRIED, JOB, LATE, RED, GROUP, DEADLY, REFUSED, ELSEWHERE = range(10)
SENT[TRIED] = replace(SENT[TRIED], dedup=True)
SENT[JOB] = replace(SENT[JOB], delay=500, period=100, repeat=1)
SENT[LATE] = replace(SENT[LATE], delay=400)
SENT[RED] = replace(SENT[RED], colour="red")
SENT[GROUP] = replace(SENT[GROUP], group="g")
SENT[DEADLY] = replace(SENT[DEADLY], fate=KILL)
SENT[REFUSED] = replace(SENT[REFUSED], fate=NACK)
SENT[ELSEWHERE] = replace(SENT[ELSEWHERE], destination="/queue/elsewhere")
DUE = 2000  # and later: nothing is early


def note(kind: str, number: int, life: int = 1, session: int = 1, **more: object) -> Note:
    """Return something that happened to a message."""
    common = Note(kind, HERE, ("p", number), life, session, f"id {number}", at=DUE, stamp=1000)
    return replace(common, **more)  # type: ignore[arg-type]


def sent(number: int, life: int = 1) -> Note:
    """A SEND was confirmed."""
    return replace(note(CONFIRMED, number, life), id="")


def taken(number: int, life: int = 1, session: int = 1, **more: object) -> list[Note]:
    """A message came and was acknowledged."""
    kinds = (DELIVERED, ACKED, ACK_CONFIRMED)
    return [note(kind, number, life, session, **more) for kind in kinds]


def whole(number: int, life: int = 1, session: int = 1, **more: object) -> list[Note]:
    """Return the uneventful life of a message."""
    return [sent(number, life), *taken(number, life, session, **more)]


def died(number: int, life: int, session: int, count: int) -> list[Note]:
    """A consumer got a message and died of it."""
    again = count > 1
    got = note(DELIVERED, number, life, session, redelivered=again, count=count)
    return [got, replace(got, kind=LEFT)]


DEATHS = [each for n in range(1, 1 + MOST_DEATHS) for each in died(DEADLY, 1, n, n)]
BOTH_OF_JOB = [
    *taken(JOB, id="id 3", job="j", at=1500),
    *taken(JOB, id="id 3b", job="j", at=1600),
]
AGAIN = {"life": 2, "session": 2, "redelivered": True}

GOOD: dict[str, list[Note]] = {
    "nothing happened": [],
    "all is well": [*whole(PLAIN), *whole(OTHER), *whole(GROUP)],
    "unconfirmed, it never came": whole(PLAIN),
    "unconfirmed, it came": taken(PLAIN),
    "it comes again in another life, and says so": [
        *whole(PLAIN)[:3],
        *taken(PLAIN, **AGAIN),
    ],
    "it comes again because its consumer went": [
        *whole(PLAIN)[:3],
        note(LEFT, PLAIN),
        *taken(PLAIN, session=2, redelivered=True),
    ],
    "it comes again because its consumer wants it": [
        *whole(PLAIN)[:2],
        note(RETURNED, PLAIN),
        note(RETURN_CONFIRMED, PLAIN),
        *taken(PLAIN, redelivered=True, count=2),
    ],
    "a try was seen, lost by a kill, and tried again": [
        note(DELIVERED, TRIED, id="lost"),
        *whole(TRIED, 2, 2),
    ],
    "a job is delivered as often as it wants": [sent(JOB), *BOTH_OF_JOB],
    "a delivery of a job is forgotten by a kill, and made again under another id": [
        sent(JOB),
        note(DELIVERED, JOB, id="forgotten", job="j", at=1500),
        *[replace(each, life=2, session=2, redelivered=True) for each in BOTH_OF_JOB],
    ],
    "late": whole(LATE, at=1400),
    "refused": [
        sent(REFUSED),
        *(note(kind, REFUSED) for kind in (DELIVERED, NACKED, NACK_CONFIRMED, BURIED)),
    ],
    "deadly": [sent(DEADLY), *DEATHS, note(BURIED, DEADLY)],
    "a group has another consumer when the first one has gone": [
        *whole(GROUP)[:2],
        note(LEFT, GROUP),
        *taken(GROUP, session=2, redelivered=True),
    ],
    "what its consumer wants": whole(RED, session=9),
    "two consumers at different speeds": [*whole(OTHER), *whole(PLAIN, session=2)],
    "answered": [
        note(ASKED, PLAIN),
        note(ANSWERED, PLAIN, text=answer_to(NAMES[PLAIN])),
        note(ASKED, OTHER),
    ],
}

BAD: dict[str, tuple[str, list[Note]]] = {
    "lost": ("lost: ('p', 0)", [sent(PLAIN)]),
    "lost, seen and not finished": ("lost: ('p', 0)", whole(PLAIN)[:2]),
    "lost after it was given back": (
        "lost: ('p', 0)",
        [note(kind, PLAIN) for kind in (DELIVERED, RETURNED, RETURN_CONFIRMED)],
    ),
    "lost: one delivery of a job": ("1 of 2 deliveries", [sent(JOB), *BOTH_OF_JOB[:3]]),
    "never sent": ("never sent, yet delivered", taken(77)),
    "sent elsewhere": ("not meant for it", taken(ELSEWHERE)),
    "for another colour": ("not what its consumer wants", whole(PLAIN, session=9)),
    "torn": ("not as it was sent", whole(PLAIN, size=1)),
    "twice in one life": (
        "delivered twice in one life",
        [*whole(PLAIN)[:3], *taken(PLAIN, session=2, redelivered=True)],
    ),
    "again, and it does not say so": (
        "without redelivered:true",
        [*whole(PLAIN)[:3], *taken(PLAIN, 2, 2)],
    ),
    "given back once, and twice delivered": (
        "delivered twice in one life",
        [
            *whole(PLAIN)[:2],
            note(RETURNED, PLAIN),
            note(DELIVERED, PLAIN, redelivered=True),
            *taken(PLAIN, session=2, redelivered=True),
        ],
    ),
    "back after an ACK": ("ended with a receipt", [*whole(PLAIN), note(DELIVERED, PLAIN, **AGAIN)]),
    "back after a NACK": (
        "ended with a receipt",
        [*GOOD["refused"], note(DELIVERED, REFUSED, **AGAIN)],
    ),
    "one delivery of a job too many": (
        "3 deliveries of",
        [*GOOD["a job is delivered as often as it wants"], *taken(JOB, id="id 3c", job="j")],
    ),
    "scheduled twice": (
        "is scheduled 2 times",
        [sent(JOB), *BOTH_OF_JOB[:3], *(replace(each, job="k") for each in BOTH_OF_JOB[3:])],
    ),
    "out of order": ("out of order behind 1", [*whole(OTHER), *whole(PLAIN)]),
    "due later, and yet first": (
        "delivered after it",
        [*whole(LATE, at=1600, stamp=1100), *taken(LATE, at=1600, redelivered=True, life=2)],
    ),
    "early": ("1 ms early", whole(LATE, at=1399)),
    "a job's second delivery comes early": (
        "100 ms early",
        [sent(JOB), *BOTH_OF_JOB[:3], *(replace(each, at=1500) for each in BOTH_OF_JOB[3:])],
    ),
    "dated back": ("says otherwise", whole(LATE, stamp=-1)),
    "a group has two consumers": (
        "group g is of session 1",
        [*whole(GROUP), *taken(GROUP, session=2, id="another")],
    ),
    "acknowledged and a dead letter": (
        "acknowledged, and a dead letter too",
        [*whole(REFUSED), note(NACKED, REFUSED), note(BURIED, REFUSED)],
    ),
    "a dead letter twice": ("2 dead letters", [*GOOD["refused"], note(BURIED, REFUSED)]),
    "refused, and no dead letter": (
        "refused with a receipt, and no dead letter",
        [note(ACKED, REFUSED), *GOOD["refused"][1:-1]],
    ),
    "a dead letter that nobody refused": (
        "nobody refused it",
        [sent(PLAIN), note(BURIED, PLAIN)],
    ),
    "given up too early": ("given up after 6 tries", [*DEATHS[2:], note(BURIED, DEADLY)]),
    "a failure too many": ("attempt 2, after 0 deliveries", whole(PLAIN, count=2)),
    "sent once, and there twice": (
        "is there 2 times",
        [*whole(PLAIN), *taken(PLAIN, 2, 2, id="another")],
    ),
    "confirmed, and stored when it was tried again": (
        "is there 2 times",
        [*whole(TRIED), *taken(TRIED, 2, 2, id="another")],
    ),
    "stored twice in one life": (
        "is there 2 times",
        [note(DELIVERED, TRIED), *taken(TRIED, session=2, id="another")],
    ),
    "an answer to somebody else": (
        "not what was asked",
        [note(ASKED, PLAIN), note(ANSWERED, PLAIN, session=2, text=answer_to(NAMES[PLAIN]))],
    ),
    "an answer to something else": (
        "not what was asked",
        [note(ASKED, PLAIN), note(ANSWERED, PLAIN, text=answer_to(NAMES[OTHER]))],
    ),
    "a second answer": (
        "not what was asked",
        [*GOOD["answered"], note(ANSWERED, PLAIN, text=answer_to(NAMES[PLAIN]))],
    ),
}


def ledger_of(notes: list[Note], alone: bool = False) -> Ledger:
    """Return a ledger with these notes, in which session 9 only wants red."""
    ledger = Ledger([Place(HERE, lambda sent: sent.destination == HERE, alone=alone)])
    ledger.sent = {sent.name: sent for sent in SENT}
    ledger.choosers[9] = "red"
    ledger.notes = notes
    return ledger


@pytest.mark.parametrize("notes", GOOD.values(), ids=GOOD)
def test_what_may_happen_is_no_fault(notes: list[Note]) -> None:
    assert judge(ledger_of(notes)) == []


@pytest.mark.parametrize(("fault", "notes"), BAD.values(), ids=BAD)
def test_a_fault_is_found(fault: str, notes: list[Note]) -> None:
    faults = judge(ledger_of(notes))
    assert any(fault in each for each in faults), faults


def test_first_deliveries_are_in_order_over_all_sessions() -> None:
    """Where one consumer comes after the other."""
    notes = [*whole(OTHER), *whole(PLAIN, 2, 2)]
    assert judge(ledger_of(notes)) == []
    [fault] = judge(ledger_of(notes, alone=True))
    assert "first delivered after 1" in fault


@pytest.mark.parametrize("number", [PLAIN, GROUP])
def test_a_broker_that_stops_may_give_one_consumer_what_another_had(number: int) -> None:
    ledger = ledger_of([*whole(number)[:3], *taken(number, session=2, redelivered=True)])
    assert judge(ledger) != []
    ledger.stopped.add(1)
    assert judge(ledger) == []


def test_a_ledger_is_kept_for_reading(tmp_path: Path) -> None:
    ledger = ledger_of(whole(PLAIN))
    ledger.save(tmp_path / "ledger.jsonl")
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert len(lines) == len(SENT) + 4
    assert '"kind": "acked"' in lines[-2]
    assert "1 messages, 1 deliveries, 0 marked" in ledger.summary()


WELL = ({"t": 2, "u": 1}, {"t"}, {"t/0"}, ["t/1"], ["t/0"])


def test_moved_or_not() -> None:
    """What nobody confirmed may be there or not, as a whole."""
    assert judge_moves(*WELL) == []
    assert judge_moves({"t": 2, "u": 1}, set(), set(), ["u/0"], []) == []


@pytest.mark.parametrize(
    ("fault", "case"),
    {
        "t/0 is there 2 times": (*WELL[:3], ["t/1", "t/0"], ["t/0"]),
        "1 of 2 messages of t": (*WELL[:2], set(), ["t/1"], []),
        "lost: t": (*WELL[:2], set(), [], []),
        "v was never begun": (*WELL[:3], ["t/1", "v/0"], ["t/0"]),
        "moved with a receipt, and lost there: t/1": (*WELL[:2], {"t/1"}, *WELL[3:]),
    }.items(),
)
def test_a_wrong_move_is_found(fault: str, case: tuple) -> None:  # type: ignore[type-arg]
    assert judge_moves(*case) == [fault]
