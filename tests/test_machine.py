"""How much memory there is, and who is told that it is nearly all taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.core.broker import Broker
from broker.errors import Full
from broker.machine import MemoryMark, memory_of_machine, memory_taken
from tests.outside import outside


def test_memory_of_machine(tmp_path: Path) -> None:
    """The least of what the machine has and what its container may have."""
    whole = memory_of_machine(())
    assert whole > memory_taken() > 1_000_000
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    assert memory_of_machine([str(limit), str(tmp_path / "none")]) == whole
    limit.write_text("12345678\n")
    assert memory_of_machine([str(limit)]) == 12345678


def test_a_mark_is_passed_and_left() -> None:
    """No message is taken beyond it but as many bytes as were consumed; the operator hears of both."""
    said: list[str] = []
    broker = Broker(outside())
    broker.journal.set_room(1000)
    MemoryMark(1 << 60, lambda: [broker], said.append).look()
    assert said == []
    mark = MemoryMark(1, lambda: [broker], said.append)
    for durable in (True, False):
        broker.admit(durable, 900)
    for _ in range(3):
        mark.look()
    assert len(said) == 1
    for durable in (True, False):
        with pytest.raises(Full, match="The broker's memory is full"):
            broker.admit(durable, 1)
    assert broker.journal.waiting == 0
    broker.memory.room += 10  # somebody has consumed
    broker.admit(False, 10)
    broker.journal.set_room(1500)
    broker.admit(True, 500)
    mark.look()
    with pytest.raises(Full):
        broker.admit(True, 1)
    broker.hold_back(False)
    broker.admit(True, 1500)
    assert (broker.journal.room, broker.memory.room) == (1500, 512 * 1024 * 1024 + 10)


def test_nobody_knows() -> None:
    """Without a mark nothing is looked at."""
    said: list[str] = []
    MemoryMark(0, list, said.append).look()
    assert said == []
