"""Fault 2: the power fails. Whatever of the unsynced writes reached the disk, what was receipted is there.

A broker runs under strace; its writes, syncs and words are played again up to some moment, and the disk is given one
of the states that it may have then (`tests.faults.disk`). The store must open, be whole (`hoofbeat check`), hold every
message whose SEND was receipted, and none whose ACK was. A new broker goes on with every tenth state.
"""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.keeping.check import all_faults
from broker.keeping.place import look_at
from broker.keeping.soundness import Soundness
from broker.options import Options, change_options
from broker.store import Store, StoreSettings, open_store
from tests.conftest import StartBroker
from tests.durability.ways import STORES, choose_seed, drain
from tests.faults.disk import Disk
from tests.faults.launching import Start, traced
from tests.faults.trace import OPTIONS, Event, Reader, headers, receipts
from tests.harness import BrokerProcess, Client, fork

QUEUES = ("/queue/a", "/queue/b")
MESSAGES = 500
STATES = 200
SIZES = ((20, 200, 5000, 70_000, 200_000), (60, 60, 20, 3, 1))  # bytes, how often
SETTINGS = StoreSettings()

pytestmark = pytest.mark.faults


@dataclass
class Expected:
    """What must be in a store at one moment, by numbers of messages."""

    there: set[str] = field(
        default_factory=set
    )  # confirmed, and nobody has begun to acknowledge it
    gone: set[str] = field(default_factory=set)  # acknowledged, and that was confirmed


class Promises:
    """What the broker had promised, moment by moment."""

    def __init__(self, events: list[Event]) -> None:
        self._at: dict[int, list[tuple[str, str]]] = {}  # index → what, number
        for index, receipt in receipts(events):
            what, _, number = receipt.partition("-")
            self._at.setdefault(index, []).append((what, number))
        for index, number in headers(events, "ACK", "number"):
            self._at.setdefault(index, []).append(("asked", number))
        self.now = Expected()
        self._asked: set[str] = set()

    def go_on(self, index: int) -> None:
        """An event has happened."""
        for what, number in self._at.get(index, ()):
            if what == "asked":
                self._asked.add(number)
                self.now.there.discard(number)
            elif what == "ack":
                self.now.gone.add(number)
            elif number not in self._asked:
                self.now.there.add(number)


def work(broker: BrokerProcess, chance: random.Random) -> None:
    """Send messages of all sizes to two queues, and acknowledge most of them, everything with a receipt."""
    with broker.connect() as producer, broker.connect() as consumer:
        for queue in QUEUES:
            consumer.send("SUBSCRIBE", destination=queue, id_=queue, ack="client-individual")
        for first in range(0, MESSAGES, 20):
            for number in range(first, first + 20):
                [size] = chance.choices(*SIZES)
                producer.send(
                    *("SEND", bytes(size)),
                    destination=chance.choice(QUEUES),
                    number=str(number),
                    priority=str(chance.choice((4, 4, 4, 8))),
                    receipt=f"send-{number}",
                )
                if chance.random() < 0.3:
                    producer.expect("RECEIPT")
                    producer.send("BEGIN", transaction=str(number), receipt="nothing-0")
            acknowledge(consumer, chance)
            await_receipts(producer)


def acknowledge(consumer: Client, chance: random.Random) -> None:
    """Take twenty messages, and acknowledge most of them."""
    asked = 0
    for _ in range(20):
        message = consumer.frame()
        while message.command == "RECEIPT":
            asked -= 1
            message = consumer.frame()
        if chance.random() < 0.7:
            number = message.headers["number"]
            consumer.send("ACK", number=number, id_=message.headers["ack"], receipt=f"ack-{number}")
            asked += 1
    for _ in range(asked):
        consumer.expect("RECEIPT")


def await_receipts(producer: Client) -> None:
    """Wait until everything is confirmed."""
    producer.send("BEGIN", transaction="t", receipt="end-0")
    producer.send("ABORT", transaction="t")
    while producer.expect("RECEIPT").headers["receipt-id"] != "end-0":
        pass


def found_in(store: Store) -> list[str]:
    """Return the numbers of all messages in a store. The counts that it keeps must be right."""
    numbers = []
    for queue in store.load().queues:
        for priority, count in queue.lanes.items():
            records = store.read(queue.number, priority, -1, 10 * MESSAGES, 1 << 40)
            assert len(records) == count, f"{queue.name}: {len(records)} records, {count} counted"
            for _, _, tail in records:
                head, _, rest = tail.partition(b"\n\n")
                lines = dict(line.split(b":", 1) for line in head.split(b"\n"))
                assert len(rest) == int(lines[b"content-length"]) + 2, "a body is cut"
                assert not rest.rstrip(b"\n").strip(b"\0"), "a body is another"
                numbers.append(lines[b"number"].decode())
    return numbers


def unsound(url: str) -> list[str]:
    """Return what `hoofbeat check` has to say about a store."""
    with closing(look_at(change_options(Options(), {"store": url}, "the test"))) as look:
        return [str(fault) for fault in all_faults(look, Soundness(look))]


def check(found: list[str], expected: Expected) -> None:
    """Compare what is there with what was promised."""
    assert len(found) == len({*found}), "a message is there twice"
    lost, back = expected.there - {*found}, expected.gone & {*found}
    assert not lost, f"{len(lost)} receipted messages are lost: {sorted(lost)[:10]}"
    assert not back, f"{len(back)} messages are back that were acknowledged: {sorted(back)[:10]}"


def go_on(url: str, directory: Path, expected: Expected) -> None:
    """Start a broker on a state: it delivers what is there, and works."""
    broker = BrokerProcess(url, directory, {}, fork)
    try:
        with broker.connect() as client:
            found = [m.headers["number"] for queue in QUEUES for m in drain(client, queue)]
            check(found, expected)
            client.ask("SEND", b"again", destination="/queue/a")
            assert [message.body for message in drain(client, "/queue/a")] == [b"again"]
    finally:
        broker.kill()


def power_cut(start: Start, store: str, tmp_path: Path, states: int = STATES) -> str:
    """Run, cut the power at so many moments, look; return what was seen. Fails as `check` does."""
    chance = random.Random(choose_seed())
    root, trace = tmp_path / "disk", tmp_path / "trace"
    root.mkdir()
    broker = start(STORES[store].format(root), traced(*OPTIONS, "-o", str(trace)))
    work(broker, chance)
    broker.kill()
    with trace.open() as lines:
        events = Reader(root).read(lines)
    first = next(index for index, _ in receipts(events))
    cuts = sorted(chance.choices(range(first), k=states // 10))
    cuts += sorted(chance.choices(range(first, len(events)), k=states - states // 10))
    disk, promises, played, most = Disk(str(root)), Promises(events), 0, 0
    for number, cut in enumerate(cuts):
        for index in range(played, cut + 1):
            disk.play(index, events[index])
            promises.go_on(index)
        played, most = cut + 1, max(most, len(disk.pending))
        place = tmp_path / "state"
        shutil.rmtree(place, ignore_errors=True)
        disk.crash(chance).write(place)
        url = STORES[store].format(place)
        try:
            if number % 10 == 9:
                go_on(url, tmp_path, promises.now)
            else:
                opened = open_store(url, SETTINGS)
                check(found_in(opened), promises.now)
                opened.close()
                assert (faults := unsound(url)) == [], faults
        except Exception as error:
            raise AssertionError(
                f"power cut at event {cut} of {trace}, state kept in {place}: {error!r}"
            ) from error
    return (
        f"{store}: {len(events)} events, {states} states, up to {most} unsynced writes in one;"
        f" {len(promises.now.there)} messages there, {len(promises.now.gone)} gone at the end"
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", STORES)
def test_power_cuts(store: str, start_broker: StartBroker, tmp_path: Path) -> None:
    """Every message receipted before is there, none of those whose ACK was; a new broker goes on."""
    print(power_cut(start_broker, store, tmp_path))
