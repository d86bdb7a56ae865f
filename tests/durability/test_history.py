"""The verdict on a history can be guilty: each kind of fault is found in the smallest history that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.durability.history import (
    ACK_CONFIRMED,
    ACKED,
    CONFIRMED,
    DELIVERED,
    SENT,
    Event,
    History,
    judge,
)


def event(kind: str, number: int, life: int = 1, client: str = "c", again: bool = False) -> Event:
    """Return something that happened to a message of producer p."""
    return Event(kind, "p", number, life, client if kind in (DELIVERED, ACKED) else "", again)


def whole(number: int, life: int = 1, client: str = "c") -> list[Event]:
    """Return the uneventful life of a message."""
    return [
        event(SENT, number, life),
        event(CONFIRMED, number, life),
        event(DELIVERED, number, life, client),
        event(ACKED, number, life, client),
        event(ACK_CONFIRMED, number, life),
    ]


GOOD = {
    "nothing happened": [],
    "all is well": [*whole(0), *whole(1), *whole(2, 2)],
    "an unconfirmed message never came": [*whole(0), event(SENT, 1)],
    "an unconfirmed message came": [*whole(0), event(SENT, 1), *whole(1)[2:]],
    "delivered again, and it says so": [
        *whole(0)[:4],
        event(DELIVERED, 0, 2, again=True),
        event(ACKED, 0, 2),
    ],
    "two consumers at different speeds": [*whole(1, client="a"), *whole(0, client="b")],
}

BAD = {
    "lost": [*whole(0), event(SENT, 1), event(CONFIRMED, 1)],
    "lost: ('p', 0)": whole(0)[:3],  # seen, not finished, and never given to anybody again
    "never sent, yet delivered": [*whole(0), event(DELIVERED, 1)],
    "delivered again without redelivered:true": [
        *whole(0)[:4],
        event(DELIVERED, 0, 2),
        event(ACKED, 0, 2),
    ],
    "delivered twice in one life": [*whole(0), event(DELIVERED, 0, 1, "d", True)],
    "acknowledged with a receipt, yet delivered": [*whole(0), event(DELIVERED, 0, 2, again=True)],
    "out of order behind 1": [*whole(1), *whole(0)],
    "p's 0 first delivered in life 2, after 1": [*whole(1), *whole(0, 2)],
}


@pytest.mark.parametrize("events", GOOD.values(), ids=GOOD)
def test_what_may_happen_is_no_fault(events: list[Event]) -> None:
    assert judge(History(events)) == []


@pytest.mark.parametrize(("fault", "events"), BAD.items(), ids=BAD)
def test_a_fault_is_found(fault: str, events: list[Event]) -> None:
    faults = judge(History(events))
    assert len(faults) == 1
    assert fault in faults[0]


def test_a_history_is_kept_for_reading(tmp_path: Path) -> None:
    history = History(whole(0))
    history.save(tmp_path / "history.jsonl")
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert len(lines) == 5
    assert '"kind": "sent"' in lines[0]
    assert "1 sent, 1 confirmed, 1 delivered" in history.summary()
