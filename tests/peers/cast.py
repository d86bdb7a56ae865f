"""Who works with brokers that are killed: producers, workers and those who read reports. Each notes what it saw.

A client that loses its broker comes again as soon as there is one. What a producer sent without hearing RECEIPT is
unknown, and it never sends it again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from broker.stomp import Frame
from tests.harness import Client, Closed
from tests.peers.nodes import Node

WORK, REPORTS = "/queue/work", "/queue/reports"
AT_ONCE = 20  # SENDs of a producer without RECEIPT
BLINK = 0.5  # seconds after which those who wait look whether it is over


@dataclass
class Delivery:
    """One MESSAGE that a consumer got."""

    node: str
    life: int  # of the broker: how often it was started
    message_id: str
    redelivered: bool
    confirmed: bool = False  # the RECEIPT of its ACK came


@dataclass
class Ledger:
    """What happened."""

    attempts: dict[str, str] = field(default_factory=dict)  # what was sent → where to
    confirmed: set[str] = field(default_factory=set)  # RECEIPT has come
    work: dict[str, list[Delivery]] = field(default_factory=dict)
    reports: dict[str, list[Delivery]] = field(default_factory=dict)
    progress: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class Stage:
    """A broker whose end may come at any time."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.life = 0
        self.over = threading.Event()  # nobody need come any more
        self._up = threading.Event()

    def start(self) -> None:
        """Let it run, again."""
        self.life += 1
        self.node.start()
        self._up.set()

    def kill(self) -> None:
        """Kill it."""
        self._up.clear()
        self.node.kill()

    def connect(self) -> Client | None:
        """Return a client as soon as it can be had; None: it is over."""
        while not self.over.is_set():
            if not self._up.wait(BLINK):
                continue
            try:
                client = Client(self.node.broker.port)
            except (OSError, Closed):
                continue
            client.socket.settimeout(BLINK)
            return client
        return None


class Member(threading.Thread):
    """Somebody with a client, who comes again."""

    def __init__(self, stage: Stage, ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self.stage = stage
        self.ledger = ledger
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Work until it is over."""
        try:
            while (client := self.stage.connect()) is not None:
                life = self.stage.life
                with client:
                    try:
                        self.work(client, life)
                        return
                    except (OSError, Closed):
                        continue
        except BaseException as error:
            self.failure = error

    def work(self, client: Client, life: int) -> None:
        """Do it; return when it is over."""
        raise NotImplementedError

    def next_frame(self, client: Client) -> Frame | None:
        """Return the next frame, None when it is over and nothing more comes."""
        while True:
            over = self.stage.over.is_set()
            try:
                return client.frame(BLINK)
            except TimeoutError:
                if over:
                    return None


class Producer(Member):
    """Sends to the other brokers, and asks for reports."""

    def __init__(self, stage: Stage, ledger: Ledger, others: list[str], seed: str) -> None:
        super().__init__(stage, ledger)
        self.done = threading.Event()  # it is to send no more
        self._others = others
        self._chance = random.Random(seed)
        self._count = 0

    def work(self, client: Client, life: int) -> None:
        out: dict[str, str] = {}
        while out or not self.done.is_set():
            while len(out) < AT_ONCE and not self.done.is_set():
                self._count += 1
                id, peer = (
                    f"{self.stage.node.name}-{self._count}",
                    self._chance.choice(self._others),
                )
                self.ledger.attempts[id] = peer
                out[id] = peer
                client.send(
                    "SEND",
                    id.encode(),
                    destination=f"/peer/{peer}{WORK}",
                    receipt=id,
                    correlation_id=id,
                    report="processed",
                    reply_to=REPORTS,
                )
            answer = self.next_frame(client)
            if answer is None:
                return
            assert answer.command == "RECEIPT", answer
            del out[answer.headers["receipt-id"]]
            self.ledger.confirmed.add(answer.headers["receipt-id"])
            self.ledger.progress.release()


class Consumer(Member):
    """Takes what comes to a queue, acknowledges each and waits for the RECEIPT of that."""

    def __init__(
        self,
        stage: Stage,
        ledger: Ledger,
        queue: str,
        place: dict[str, list[Delivery]],
        id_of: Callable[[Frame], str],
    ) -> None:
        super().__init__(stage, ledger)
        self._queue = queue
        self._place = place
        self._id_of = id_of

    def work(self, client: Client, life: int) -> None:
        client.send(
            "SUBSCRIBE",
            destination=self._queue,
            id="s",
            ack="client-individual",
            **{"activemq.prefetchSize": "20"},
        )
        open_: dict[str, Delivery] = {}
        while (frame := self.next_frame(client)) is not None:
            if frame.command == "RECEIPT":
                open_.pop(frame.headers["receipt-id"]).confirmed = True
                self.ledger.progress.release()
                continue
            assert frame.command == "MESSAGE", frame
            key = frame.headers["ack"]
            delivery = Delivery(
                self.stage.node.name,
                life,
                frame.headers["message-id"],
                frame.headers.get("redelivered") == "true",
            )
            self._place.setdefault(self._id_of(frame), []).append(delivery)
            open_[key] = delivery
            client.send("ACK", id=key, receipt=key)


def judge(ledger: Ledger, lives: dict[str, int]) -> list[str]:
    """Return what is wrong, each in one line; `lives` tells how often each broker was started.

    A broker that is killed may have done what it was asked for and not said so, or have handed out what it had not
    written yet. So only of what it had confirmed to its sender is it asked that its report comes home.
    """

    def is_done(deliveries: list[Delivery]) -> bool:
        last = deliveries[-1] if deliveries else None
        return last is not None and (last.confirmed or last.life < lives[last.node])

    faults = []
    for id, peer in ledger.attempts.items():
        work, reports = ledger.work.get(id, []), ledger.reports.get(id, [])
        if id in ledger.confirmed and not is_done(work):
            faults.append(f"{id} was confirmed and never processed: {work}")
        if any(delivery.node != peer for delivery in work):
            faults.append(f"{id} came to another broker than {peer}: {work}")
        home = id.partition("-")[0]
        if any(delivery.node != home for delivery in reports):
            faults.append(f"the report of {id} came elsewhere: {reports}")
        if id in ledger.confirmed and not is_done(reports):
            faults.append(f"no report of {id} came home: {work} {reports}")
        if len({delivery.message_id for delivery in reports}) > 1:
            faults.append(f"the report of {id} came home twice: {reports}")
        for deliveries in (work, reports):
            faults += [f"{id}: {fault}" for fault in repetitions(deliveries)]
    faults += [
        f"{id} was never sent" for id in {*ledger.work, *ledger.reports} - {*ledger.attempts}
    ]
    return faults


def repetitions(deliveries: list[Delivery]) -> list[str]:
    """Return what is wrong about a message that a consumer got more than once."""
    faults = []
    for before, after in pairwise(deliveries):
        if before.confirmed:
            faults.append(f"came again after it was done: {deliveries}")
        if after.life == before.life:
            faults.append(f"came twice from a broker that was not killed: {deliveries}")
        if after.message_id == before.message_id and not after.redelivered:
            faults.append(f"came again without redelivered:true: {deliveries}")
    return faults
