"""Fault 3: the n-th call to the kernel about the store's files fails, once, for every n and every call there is.

strace makes it fail, so all of the broker is real, LMDB's and SQLite's own code too. Either the broker says no
before it is ready, or it ends before it gives a receipt that is not true; then another one starts on what is there.
"""

from __future__ import annotations

import random
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.crowd import GONE
from tests.durability.ways import STORES, choose_seed, drain
from tests.faults.launching import Start, traced
from tests.faults.test_any_frames import TRACEBACK
from tests.harness import DEADLINE, BrokerProcess, NotReady

#: What a driver calls, and how many of these calls fail, one in each run: some at its start, some in its work.
CALLS = {
    "lmdb": {"fdatasync": 40, "pwrite64": 40, "writev": 10, "openat": 5, "fsync": 2},
    "sqlite": {"fdatasync": 20, "pwrite64": 30, "openat": 10, "fsync": 2},
}
FILES = {
    "lmdb": ("data", "data/data.mdb"),
    "sqlite": ("", "hoof.db", "hoof.db-wal", "hoof.db-journal"),
}
ERRORS = ("EIO", "ENOSPC")
SIZE = 5000  # bytes: more than a page
QUEUE = "/queue/a"

pytestmark = pytest.mark.faults


@dataclass
class Told:
    """What clients of all brokers on one store were told."""

    sent: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)  # to be acknowledged
    acked: set[str] = field(default_factory=set)
    refused: int = 0  # brokers that did not start
    ended: int = 0  # brokers that ended at work
    went_on: int = 0  # brokers to which it did not happen, or did not matter


def work(broker: BrokerProcess, name: str, told: Told) -> None:
    """Send, and acknowledge every other message, until the broker dies or has had enough."""
    with broker.connect() as producer, broker.connect() as consumer:
        consumer.send("SUBSCRIBE", destination=QUEUE, id_="1", ack="client-individual")
        for number in range(20):
            label = f"{name} {number}"
            answer = producer.ask("SEND", bytes(SIZE), destination=QUEUE, label=label)
            assert answer.command == "RECEIPT", answer
            told.sent.add(label)
            message = consumer.expect("MESSAGE")
            assert message.headers["label"] == label
            if number % 2:
                told.asked.add(label)
                assert consumer.ask("ACK", id_=message.headers["ack"]).command == "RECEIPT"
                told.acked.add(label)


def fail_once(
    start: Start, url: str, files: list[str], call: str, error: str, nth: int, told: Told
) -> None:
    """Let a broker work whose n-th call fails."""
    fault = f"inject={call}:error={error}:when={nth}"
    paths = [option for file in files for option in ("-P", file)]
    launch = traced(*paths, "-e", f"trace={call}", "-e", fault, "-o", "/dev/null")
    try:
        broker = start(url, launch)
    except NotReady:
        told.refused += 1
        return
    with suppress(*GONE):
        work(broker, f"{call} {error} {nth}", told)
    if broker.process.poll() is None and broker.stop() == 0:
        told.went_on += 1
    else:
        broker.process.wait(DEADLINE)
        told.ended += 1


def check(start: Start, url: str, told: Told) -> None:
    """Compare what a healthy broker finds with what the others said."""
    broker = start(url)
    try:
        with broker.connect() as client:
            there = [message.headers["label"] for message in drain(client, QUEUE)]
    except GONE:
        raise AssertionError("the next broker cannot go on with what is there") from None
    assert broker.stop() == 0
    lost = told.sent - told.asked - {*there}
    assert not lost, f"receipted, and lost: {sorted(lost)}"
    back = told.acked & {*there}
    assert not back, f"acknowledged, and back: {sorted(back)}"
    assert len(there) == len({*there}), "there twice"
    told.sent.clear()


def io_errors(start: Start, store: str, tmp_path: Path, calls: dict[str, int]) -> Told:
    """Try every call, the error that it fails with by chance; return what happened."""
    chance, told, tried = random.Random(choose_seed()), Told(), 0
    for call, most in calls.items():
        for nth in range(1, most + 1):
            place = tmp_path / f"{call}{nth}"
            place.mkdir()
            url = STORES[store].format(place)
            files = [f"{place}/{name}" for name in FILES[store]]
            fail_once(start, url, files, call, chance.choice(ERRORS), nth, told)
            check(start, url, told)
            tried += 1
    print(
        f"{store}: {tried} errors; {told.refused} brokers refused to start, {told.ended} ended at work,"
        f" {told.went_on} went on; {len(told.acked)} acknowledged, nothing lost"
    )
    return told


@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", STORES)
def test_the_nth_call_fails(store: str, start_broker: StartBroker, tmp_path: Path) -> None:
    """No receipt without the data, one line that says why, and a clean start afterwards."""
    told = io_errors(start_broker, store, tmp_path, CALLS[store])
    assert told.refused
    assert told.ended
    log = (tmp_path / "broker.log").read_text()
    assert TRACEBACK.search(log) is None
    said = re.findall(r"^hoofbeat: (?!the store has failed: |cannot )(.*)", log, re.MULTILINE)
    assert not said, said
