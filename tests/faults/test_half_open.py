"""Fault 6: a consumer's machine is gone without a word. Its link swallows what it is told, and no end is reported."""

from __future__ import annotations

import time

from tests.conftest import StartBroker
from tests.faults.conftest import MakeProxy
from tests.faults.launching import Start
from tests.harness import DEADLINE, Client
from tests.scenarios.steps import accepted, put, take

HEART_BEAT = 0.5  # seconds that the consumer promised
GRACE = (
    2 * HEART_BEAT + 0.5
)  # that the broker gives it: never less than a second more than it promised
QUEUE = "/queue/work"


def half_open(start: Start, proxy: MakeProxy, patience: float = DEADLINE) -> str:
    """Take five messages over a link that then swallows everything; another consumer gets them, once each."""
    broker = start()
    between = proxy(broker)
    beats = {"heart-beat": f"{HEART_BEAT * 1000:.0f},0"}
    with broker.connect() as producer, broker.connect() as other:
        with Client(between.port, "1.2", **beats) as lost:
            lost.send("SUBSCRIBE", destination=QUEUE, id_="1", ack="client-individual")
            put(producer, QUEUE, *(b"%d" % number for number in range(5)))
            first, *_ = take(lost, 5)
            lost.send("SEND", b"half", destination=QUEUE, transaction="t")  # it began none
            other.send("SUBSCRIBE", destination=QUEUE, id_="1", ack="client-individual")
            between.hold()
            began = time.monotonic()
            lost.send("ACK", id_=first.headers["ack"])  # nobody will hear of it
            try:
                back = [other.frame(patience)]
            except TimeoutError:
                raise AssertionError(
                    f"{patience} s later the dead consumer is not given up"
                ) from None
            took = time.monotonic() - began
            back += take(other, 4)
        assert [message.body for message in back] == [b"0", b"1", b"2", b"3", b"4"]
        assert {message.headers.get("redelivered") for message in back} == {"true"}
        for message in back:
            accepted(other.ask("ACK", id_=message.headers["ack"]))
        assert other.silent()
    broker.kill()
    return f"a dead consumer is found after {took:.1f} s, heart-beats of {HEART_BEAT} s"


def test_half_open(start_broker: StartBroker, proxy: MakeProxy) -> None:
    """The dead end is found by its missing heart-beats; what it held goes to another, marked, once."""
    print(half_open(start_broker, proxy))
