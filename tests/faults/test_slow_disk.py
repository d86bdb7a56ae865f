"""Fault 5: every sync of the disk takes its time, as strace sees to. Promises wait, nothing else does."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.durability.ways import MB, choose_seed, pings, tell
from tests.faults.launching import Start, traced
from tests.harness import Client

DELAYS = (20, 200, 1000)  # milliseconds that a sync takes
WORK = 5.0  # seconds
BEAT = 0.3  # seconds

pytestmark = pytest.mark.faults


def listen(client: Client, silences: list[float], over: threading.Event) -> None:
    """Note how long the broker is silent, one heart-beat after the other."""
    last = time.monotonic()
    with suppress(OSError):  # it is closed
        while not over.is_set() and client.socket.recv(1000):
            now = time.monotonic()
            silences.append(now - last)
            last = now


def slow_disk(start: Start, delay: int, seed: int) -> str:
    """Let producers write as fast as they are let, others do what needs no disk; return what was seen."""
    chance = random.Random(seed)
    slow = traced("-e", "trace=fdatasync", "-e", f"inject=fdatasync:delay_enter={delay}ms")
    broker = start(launch=slow, journal_bytes=4 * MB)
    before = broker.memory()
    silences: list[float] = []
    over = threading.Event()
    confirmed = 0
    with (
        broker.connect() as producer,
        broker.connect(**{"heart-beat": f"0,{BEAT * 1000:.0f}"}) as idle,
    ):
        ear = threading.Thread(target=listen, args=(idle, silences, over))
        ear.start()
        with pings(broker) as took:
            end = time.monotonic() + WORK
            while time.monotonic() < end:
                for number in range(500):
                    headers = {"destination": "/queue/a"}
                    if number == 499:
                        headers["receipt"] = "500"
                    producer.write(
                        Frame("SEND", headers, bytes(chance.randint(1, 4000))).encode("1.2")
                    )
                asked = time.monotonic()
                producer.expect("RECEIPT", receipt_id="500")
                assert time.monotonic() - asked > delay / 1000 / 2, "the receipt did not wait"
                confirmed += 500
        over.set()
        ear.join()
    tell("meanwhile", took, broker)
    ordered = sorted(took)
    typical = ordered[len(ordered) * 95 // 100]
    syncs = confirmed / 500  # at least
    late = sum(each > delay / 1000 / 2 for each in took)
    assert late < syncs / 2, f"others wait for {late} of {syncs:.0f} syncs"
    assert typical < 0.05, f"others wait {typical * 1000:.0f} ms"
    assert max(silences) < BEAT + 1.5, f"no heart-beat for {max(silences):.1f} s"
    assert broker.memory() < before + 40 * MB
    assert broker.stop() == 0
    return (
        f"{delay} ms a sync: {confirmed / WORK:.0f} messages/s confirmed; of others 95 in 100 within"
        f" {typical * 1000:.1f} ms, worst {ordered[-1] * 1000:.0f} ms; longest silence {max(silences):.2f} s"
    )


@pytest.mark.parametrize("delay", DELAYS)
def test_a_slow_disk(delay: int, start_broker: StartBroker, tmp_path: Path) -> None:
    """Receipts wait for the sync; heart-beats and messages of others do not, and memory is bounded."""
    print(slow_disk(start_broker, delay, choose_seed()))
