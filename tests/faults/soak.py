"""A long run under mixed load.

    make soak SECONDS=3600
    python -m tests.faults.soak [--seconds 3600] [--rate 8] [--store lmdb] [--directory build/soak]

In the first half the broker is ended twenty times, with kill -9 or in order, each time in the midst of work. In the
second half it lives on: that is the life whose memory, files and descriptors must be flat. After each half everything
is drained and every message is judged, as in durability/test_everything_killed.py: nothing confirmed is lost, nothing
ended comes back, nothing comes twice unmarked, jobs and their reports agree, remote calls are answered right.

The load is modest, so that others can work on the machine. The directory then holds `curve.svg`, `curve.jsonl` (the
samples), the broker's log and, if messages were at fault, the ledger. The exit status says whether all was well.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from broker.core.schedule import STORED_AS as SCHEDULE
from broker.store import StoreSettings, open_store
from tests.durability.crowd import Scene, kill_it
from tests.durability.ledger import Ledger
from tests.durability.movers import drain_durable
from tests.durability.test_everything_killed import (
    ARCHIVE,
    DURABLE,
    FIRST,
    SECOND,
    drain,
    make_durable,
    places,
)
from tests.durability.verdicts import judge as judge_ledger
from tests.durability.verdicts import judge_moves
from tests.durability.ways import choose_seed
from tests.faults import curve
from tests.faults.company import Calls, Company
from tests.harness import BrokerProcess
from tests.peers.proxy import Proxy

ENDS = 20  # of the broker in the first half
SAMPLES = 720  # in all
STORES = {"lmdb": ("lmdb:{}/data", "data"), "sqlite": ("sqlite:{}/data/hoof.db", "data")}
#: What is remembered for minutes or days is remembered for seconds here, else its growth is all one sees.
SETTINGS: dict[str, object] = {
    "sweep_every": 5.0,
    "track_for": 60.0,
    "destination": {">": {"dedup_seconds": 60.0}},
}


class Soak:
    """One long run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.seed = choose_seed()
        self.chance = random.Random(self.seed)
        self.seconds: float = arguments.seconds
        self.rate: float = arguments.rate
        self.directory = Path(arguments.directory).resolve()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        url, files = STORES[arguments.store]
        self.url = url.format(self.directory)
        self.faults: list[str] = []
        self.lives = 0  # of the broker so far
        self.proxy = Proxy()  # so that remote calls find every broker at one port
        self.broker: BrokerProcess | None = None
        self.scene: Scene | None = None
        self.sampler = curve.Sampler(
            self.look,
            self.directory / files,
            self.directory / "curve.jsonl",
            max(0.5, self.seconds / SAMPLES),
        )

    def start(self) -> BrokerProcess:
        """Start the next broker."""
        self.lives += 1
        self.broker = BrokerProcess(self.url, self.directory, SETTINGS)
        self.proxy.target = self.broker.port
        return self.broker

    def look(self) -> tuple[int, int, int]:
        """Tell the sampler where it stands."""
        if self.scene is None or self.broker is None:
            raise ProcessLookupError
        return self.broker.process.pid, self.lives, self.scene.confirmed

    def end_in_order(self, broker: BrokerProcess) -> int:
        """Stop a broker."""
        status = broker.stop()
        if status != 0:
            self.faults.append(f"an orderly end had status {status}")
        return status

    def half(self, name: str, ends: int) -> None:
        """Let everybody work for half the time; end the broker so many times, at last in any case."""
        ledger, scene = Ledger(places()), Scene(self.start)
        self.scene = scene
        make_durable(scene.broker, *DURABLE, FIRST, SECOND, ARCHIVE)
        company = Company(scene, ledger, name, self.rate, self.seed)
        calls = Calls(f"stomp://127.0.0.1:{self.proxy.port}", self.rate)
        for member in company.members:
            member.start()
        for number in range(1, ends + 1):
            live(scene, self.seconds / 2 / ends)
            if number == ends:
                calls.stop()
            if self.chance.random() < 0.3:
                ledger.stopped.add(scene.life)
                scene.end(number == ends, self.end_in_order)
            else:
                scene.end(number == ends, kill_it)
        for member in company.members:
            member.finish()
        self.judge(name, scene, ledger, company, calls)

    def judge(
        self, name: str, scene: Scene, ledger: Ledger, company: Company, calls: Calls
    ) -> None:
        """Drain all there is, and note what is wrong."""
        faults = company.hear_the_rest(scene.broker)
        stayed = [*drain_durable(scene.broker, FIRST)]
        stayed_2 = [*drain_durable(scene.broker, SECOND, ended=True)]  # of the same topic
        moved = company.archive.take_the_rest(scene.broker, stayed)
        moved_2 = company.moved.take_the_rest(scene.broker, stayed_2)
        sender = company.sender
        faults += judge_moves(
            sender.sizes, sender.confirmed, company.first.confirmed, stayed, moved
        )
        faults += judge_moves(
            sender.sizes, sender.confirmed, company.second.confirmed, stayed_2, moved_2
        )
        drain(scene, ledger, self.seed)  # and stop the broker
        faults += [*judge_ledger(ledger), *calls.faults, *left_over(self.url)]
        visits = sum(visitor.visits for visitor in company.visitors)
        print(f"--- {name}\n{ledger.summary()}")
        print(
            f"{len(sender.sizes)} transactions, {len(company.worker.done)} jobs done and reported,"
            f" {calls.answered} remote calls and {calls.lost} without a broker, {visits} visits",
            flush=True,
        )
        if faults:
            kept = self.directory / f"ledger-{name}.jsonl"
            ledger.save(kept)
            self.faults += [f"{len(faults)} faults in the {name} half; {kept}", *faults[:20]]

    def run(self) -> int:
        """Do all of it; return the exit status."""
        self.sampler.start()
        try:
            self.half("first", ENDS)
            self.half("second", 1)
        finally:
            self.sampler.stop()
            if self.broker is not None:
                self.broker.kill()
            self.proxy.close()
        samples = self.sampler.samples
        curve.draw(samples, self.directory / "curve.svg")
        self.faults += curve.judge(samples)
        print(f"{self.lives} brokers. {curve.describe(samples)}")
        print(f"the curve: {self.directory / 'curve.svg'}")
        for fault in self.faults:
            print(f"FAULT: {fault}")
        print(f"HOOFBEAT_SEED={self.seed}: " + ("failed" if self.faults else "all is well"))
        return 1 if self.faults else 0


def live(scene: Scene, seconds: float) -> None:
    """Let everybody work for a while, as long as anybody gets on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        scene.await_progress(5)


def left_over(url: str) -> list[str]:
    """Return what a store still holds of messages; what the broker remembers for a while may be there."""
    store = open_store(url, StoreSettings())
    records = {queue.name: sum(queue.lanes.values()) for queue in store.load().queues}
    store.close()
    return [
        f"{number} records of {name!r} are left over"
        for name, number in records.items()
        if number and (name == SCHEDULE or not name.startswith("\0"))
    ]


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument(
        "--rate", type=float, default=8.0, help="messages a second of each producer"
    )
    parser.add_argument("--store", choices=STORES, default="lmdb")
    parser.add_argument("--directory", default=os.path.join("build", "soak"))
    logging.getLogger("rpc").setLevel(
        logging.ERROR
    )  # connections are lost, that is what it is about
    return Soak(parser.parse_args(words)).run()


if __name__ == "__main__":
    sys.exit(main())
