"""Producers and consumers in threads that go on over any number of broker deaths, and the one who kills.

Everybody notes in a `History` what they did and heard. Nobody looks at a clock: they wait for a broker, a
frame, or for each other's progress.
"""

from __future__ import annotations

import random
import signal
import threading
from collections import deque
from collections.abc import Callable

from tests.durability.history import (
    ACK_CONFIRMED,
    ACKED,
    CONFIRMED,
    DELIVERED,
    SENT,
    Event,
    History,
)
from tests.harness import DEADLINE, BrokerProcess, Client, Closed

QUEUE = "/queue/total"
LAST = 0  # priority of the message that is delivered after all others
GONE = (Closed, ConnectionError)  # how the death of a broker looks to its clients


class Scene:
    """The broker of the moment, and how far everybody got."""

    def __init__(self, start: Callable[[], BrokerProcess]) -> None:
        self.history = History()
        self.life = 0
        self.over = False
        self.broker = start()
        self._start = start
        self.confirmed = 0
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    def broker_after(self, life: int) -> tuple[BrokerProcess, int] | None:
        """Return the broker that came after that life, and its own; None if there will be none."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.over or self.life > life, DEADLINE)
            return None if self.over else (self.broker, self.life)

    def progress(self) -> None:
        """A client tells that it was confirmed something."""
        with self._changed:
            self.confirmed += 1
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """A client tells that it cannot go on."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def await_progress(self, count: int) -> None:
        """Wait until so many more confirmations have come, or fail as the first client did."""
        with self._changed:
            goal = self.confirmed + count
            assert self._changed.wait_for(
                lambda: self.confirmed >= goal or self._failure is not None, DEADLINE
            ), f"{goal - self.confirmed} confirmations of {count} are missing"
            if self._failure is not None:
                raise self._failure

    def pause(self, count: int, life: int) -> None:
        """Wait until so many more confirmations have come, or that life of the broker is over."""
        with self._changed:
            goal = self.confirmed + count
            assert self._changed.wait_for(
                lambda: self.confirmed >= goal or self.life != life or self.over, DEADLINE
            )

    def end(self, last: bool, how: Callable[[BrokerProcess], int]) -> int:
        """End the broker in some way; start the next one, for nobody if it was the `last` life.

        Returns the exit status.
        """
        status = how(self.broker)
        with self._changed:
            self.over = last
            self._changed.notify_all()
        broker = self._start()
        with self._changed:
            self.broker = broker
            self.life += 1
            self._changed.notify_all()
        return status


def kill_it(broker: BrokerProcess) -> int:
    """End a broker as a power cut would."""
    broker.kill()
    return -signal.SIGKILL


class Member(threading.Thread):
    """Somebody who keeps working through all lives of a broker."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.scene = scene
        self.note = scene.history.note
        self.life = -1
        self.login: dict[str, str] = {}  # headers of its CONNECT
        self.ends: list[BaseException] = []  # how each connection ended
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Work with one broker after the other."""
        try:
            while (found := self.scene.broker_after(self.life)) is not None:
                broker, self.life = found
                try:
                    self.live(broker)
                except GONE as end:
                    self.ends.append(end)
        except BaseException as error:
            self.failure = error
            self.scene.fail(error)

    def live(self, broker: BrokerProcess) -> None:
        """Work with one broker until it dies."""
        with broker.connect(**self.login) as client:
            self.work(client)

    def work(self, client: Client) -> None:
        """Do what there is to do until the broker dies."""
        raise NotImplementedError

    def finish(self) -> None:
        """Wait for its end as long as anybody gets on, and fail as it did."""
        while self.is_alive():
            before = self.scene.confirmed
            self.join(DEADLINE)
            assert not self.is_alive() or self.scene.confirmed > before, f"{self.name} is stuck"
        if self.failure is not None:
            raise self.failure


class Producer(Member):
    """Sends numbered messages, `window` of them without a receipt yet."""

    def __init__(self, scene: Scene, name: str, window: int) -> None:
        super().__init__(scene, name)
        self._window = window
        self._next = 0

    def work(self, client: Client) -> None:
        waiting: deque[int] = deque()
        while True:
            while len(waiting) < self._window:
                number, self._next = self._next, self._next + 1
                waiting.append(number)
                self.note(Event(SENT, self.name, number, self.life))
                client.send(
                    "SEND",
                    b"%d" % number,
                    destination=QUEUE,
                    producer=self.name,
                    receipt=str(number),
                )
            client.expect("RECEIPT", receipt_id=str(waiting[0]))
            self.note(Event(CONFIRMED, self.name, waiting.popleft(), self.life))
            self.scene.progress()


class Consumer(Member):
    """Acknowledges every message by itself, with a receipt."""

    def work(self, client: Client) -> None:
        consume(self, client, lambda message: False)


def consume(member: Member, client: Client, enough: Callable[[str], bool]) -> None:
    """Note and acknowledge everything, until `enough` of a message's producer or the broker's death."""
    waiting: deque[tuple[str, int]] = deque()
    client.send("SUBSCRIBE", destination=QUEUE, id_="1", ack="client-individual")
    ended = False
    while waiting or not ended:
        frame = client.frame()
        if frame.command == "RECEIPT":
            member.note(Event(ACK_CONFIRMED, *waiting.popleft(), member.life))
            member.scene.progress()
            continue
        assert frame.command == "MESSAGE", frame
        producer, number = frame.headers["producer"], int(frame.body)
        if enough(producer):
            ended = True
            continue
        again = frame.headers.get("redelivered") == "true"
        member.note(Event(DELIVERED, producer, number, member.life, member.name, again))
        waiting.append((producer, number))
        member.note(Event(ACKED, producer, number, member.life, member.name))
        client.send("ACK", id_=frame.headers["ack"], receipt="ack")


class Drain(Member):
    """The one consumer at the end: takes all that is left, up to a message sent last."""

    def run(self) -> None:
        """Work with the broker of the moment, which must live on."""
        try:
            broker, self.life = self.scene.broker, self.scene.life
            with broker.connect() as client:
                client.ask("SEND", b"0", destination=QUEUE, producer="end", priority=str(LAST))
                consume(self, client, lambda producer: producer == "end")
        except BaseException as error:
            self.failure = error


def run_total_queue(
    start: Callable[[], BrokerProcess], seed: int, producers: int, consumers: int, kills: int
) -> History:
    """Send and consume while the broker is killed again and again; return what happened, drained."""
    chance = random.Random(seed)
    scene = Scene(start)
    members: list[Member] = [
        Producer(scene, f"producer {n}", chance.choice((1, 20, 200))) for n in range(producers)
    ]
    members += [Consumer(scene, f"consumer {n}") for n in range(consumers)]
    for member in members:
        member.start()
    for kill in range(kills):
        scene.await_progress(chance.randint(1, 600))
        scene.end(kill == kills - 1, kill_it)
    for member in members:
        member.finish()
    drain = Drain(scene, "drain")
    drain.start()
    drain.finish()
    return scene.history
