"""A fault test that never fails shows nothing: here each meets a broker with a defect that it is there to find.

The quick ones run with all tests, the others under `make faults`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.crowd import run_total_queue
from tests.durability.history import judge
from tests.durability.ways import STORES, choose_seed
from tests.faults.broken import DEFECTS
from tests.faults.conftest import MakeProxy
from tests.faults.launching import Start, with_defect
from tests.faults.test_any_frames import any_frames
from tests.faults.test_clock import clock
from tests.faults.test_disk_full import disk_full, no_warning
from tests.faults.test_frame_bombs import bombs
from tests.faults.test_half_open import half_open
from tests.faults.test_io_errors import io_errors
from tests.faults.test_killed import killed_while_held
from tests.faults.test_little_memory import little_memory
from tests.faults.test_power_cut import power_cut
from tests.faults.test_slow_consumer import slow_consumer
from tests.faults.test_slow_disk import slow_disk


@dataclass(frozen=True)
class Place:
    """What a fault test is given."""

    start: Start
    proxy: MakeProxy
    directory: Path


def kill_loop(place: Place) -> None:
    """Fault 1, with the verdict of its own test."""
    url = STORES["lmdb"].format(place.directory)
    history = run_total_queue(lambda: place.start(url), choose_seed(), 3, 3, kills=10)
    faults = judge(history)
    assert not faults, "; ".join({fault.partition(":")[0] for fault in faults})


def held(place: Place) -> None:
    """Fault 1, its smallest case."""
    killed_while_held(place.start, STORES["lmdb"].format(place.directory))


def io_error(place: Place) -> None:
    """Fault 3, some of it."""
    io_errors(place.start, "lmdb", place.directory, {"fdatasync": 20})


#: The defect, the fault test, and what it says.
FOUND: list[tuple[str, Callable[[Place], object], str]] = [
    ("ack-forgotten", kill_loop, "acknowledged with a receipt, yet delivered"),
    ("delivered-is-done", held, "lost"),
    ("crash-forgotten", held, "without redelivered:true"),
    ("crash-forgotten", kill_loop, "without redelivered:true"),
    ("receipt-early", kill_loop, "lost|yet delivered"),
    ("receipt-early", lambda p: power_cut(p.start, "lmdb", p.directory), "lost|are back"),
    ("no-sync", lambda p: power_cut(p.start, "lmdb", p.directory), "lost|are back|StoreError|lmdb"),
    ("no-metasync", lambda p: power_cut(p.start, "lmdb", p.directory), "lost|are back|StoreError"),
    ("receipt-early", io_error, "lost|back|cannot go on"),
    ("error-ignored", io_error, "lost|back|cannot go on"),
    ("error-ignored", lambda p: no_warning(p.start, "lmdb", p.directory), "lost"),
    ("never-full", lambda p: disk_full(p.start, "lmdb", p.directory), "nobody was refused"),
    ("written-in-the-turn", lambda p: slow_disk(p.start, 200, 1), "others wait|no heart-beat"),
    ("receipt-early", lambda p: slow_disk(p.start, 200, 1), "the receipt did not wait"),
    ("silence-is-life", lambda p: half_open(p.start, p.proxy, patience=5), "not given up"),
    (
        "no-back-pressure",
        lambda p: slow_consumer(p.start, p.proxy, 30_000),
        "for the slow one|the slow one has them all",
    ),
    ("all-in-memory", lambda p: little_memory(p.start, 600_000), "of RssAnon"),
    ("numbers-unchecked", lambda p: any_frames(p.start, p.directory, 1, 100), "a fault of ours"),
    ("no-limits", lambda p: bombs(p.start), "it was taken|more"),
    ("day-by-the-system", lambda p: clock(p.start, p.directory, "a day forward"), "early"),
    ("day-by-the-system", lambda p: clock(p.start, p.directory, "a day back"), "came"),
    ("day-by-the-system", lambda p: clock(p.start, p.directory, "ten times as fast"), "early"),
    (
        "heart-beats-by-the-wall",
        lambda p: clock(p.start, p.directory, "a day back"),
        "no heart-beat",
    ),
    ("timers-by-the-wall", lambda p: clock(p.start, p.directory, "a day back"), "no heart-beat"),
]
QUICK = {"delivered-is-done", "numbers-unchecked", "no-limits"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("defect", "look", "said"),
    [pytest.param(*row, marks=[] if row[0] in QUICK else pytest.mark.faults) for row in FOUND],
    ids=[f"{number} {row[0]}" for number, row in enumerate(FOUND)],
)
def test_it_is_found(
    defect: str,
    look: Callable[[Place], object],
    said: str,
    start_broker: StartBroker,
    proxy: MakeProxy,
    tmp_path: Path,
) -> None:
    """The fault test fails, and for the right reason."""
    place = Place(with_defect(start_broker, defect), proxy, tmp_path)
    with pytest.raises(AssertionError) as failure:
        look(place)
    assert re.search(said, str(failure.value)), failure.value


def test_every_defect_is_looked_for() -> None:
    """A defect that no test finds is none that we know to find."""
    assert {defect for defect, _, _ in FOUND} == {*DEFECTS}
