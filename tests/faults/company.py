"""Who works with the broker of a long run: everybody of durability/troupe.py at a leisurely pace, and a few more.

Besides producers and consumers in every mode, durable subscriptions, groups, selectors, schedules and dead letters
there are jobs with reports, remote calls, and connections that come, listen and go.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import rpc
from broker.stomp import Frame
from tests.durability.crowd import Member, Scene
from tests.durability.ledger import ASKED, BURIED, Ledger, Name, Note, Sent
from tests.durability.movers import Mover, Sender
from tests.durability.test_everything_killed import (
    ABSENT,
    ARCHIVE,
    AUTHORS,
    CHOOSY,
    FIRST,
    NEWS,
    READERS,
    SECOND,
    WORK,
)
from tests.durability.troupe import (
    END,
    Asker,
    Author,
    Reader,
    Replier,
    Undertaker,
    Wish,
    send_end,
    subscribe,
)
from tests.durability.ways import drain
from tests.harness import DEADLINE, BrokerProcess, Client

JOBS, REPORTS, MOVED = "/queue/soak.jobs", "/queue/soak.reports", "/queue/soak.moved"
SERVICE = "soak"
#: Messages after which one that comes and goes does go, on average: more than come while it is away, so that no
#: backlog grows for ever.
STAYS = 300
RESENT = 100  # SENDs among which one is chosen to be sent again


class Pace:
    """Lets its owner do something so many times a second, and no more often."""

    def __init__(self, rate: float) -> None:
        self._gap = 1 / rate
        self._next = time.monotonic()
        self._never = threading.Event()

    def wait(self) -> None:
        """Wait until it is time again. What was missed is not made up for."""
        self._next = max(self._next + self._gap, time.monotonic() - self._gap)
        self._never.wait(max(0.0, self._next - time.monotonic()))


class PacedAuthor(Author):
    """An author who takes his time."""

    def pace(self, rate: float) -> None:
        """Say how often it sends."""
        self._pace = Pace(rate)
        self._confirmed = deque(maxlen=RESENT)

    def _choose(self) -> Sent:
        self._pace.wait()
        return super()._choose()


class PacedAsker(Asker):
    """An asker who takes his time."""

    def pace(self, rate: float) -> None:
        """Say how often it asks."""
        self._pace = Pace(rate)

    def _note(self, kind: str, name: Name, session: int, text: str = "") -> Note:
        if kind == ASKED:
            self._pace.wait()
        return super()._note(kind, name, session, text)


def paced(names: Iterator[str], rate: float) -> Iterator[str]:
    """Yield names at a pace."""
    pace = Pace(rate)
    for name in names:
        pace.wait()
        yield name


class Visitor(Member):
    """Connects, listens for a moment in mode auto, sends a little, goes: with or without a word."""

    def __init__(self, scene: Scene, name: str, rate: float, seed: int) -> None:
        super().__init__(scene, name)
        self._pace = Pace(rate)
        self._chance = random.Random(f"{seed} {name}")
        self.visits = 0

    def live(self, broker: BrokerProcess) -> None:
        while True:
            super().live(broker)

    def work(self, client: Client) -> None:
        self._pace.wait()
        self.visits += 1
        client.send("SUBSCRIBE", destination=NEWS, id_="1")
        client.send("SUBSCRIBE", destination=f"/queue/mine.{self.name}", id_="2")
        client.send("SEND", b"hello", destination=f"/queue/mine.{self.name}", persistent="false")
        client.send("BEGIN", transaction="never ended")
        while client.frame().headers.get("subscription") != "2":
            pass
        if self._chance.random() < 0.5:
            client.send("DISCONNECT", receipt="bye")
            while client.frame().headers.get("receipt-id") != "bye":
                pass
        self.scene.progress()


class JobSender(Member):
    """Sends jobs that ask for a report."""

    def __init__(self, scene: Scene, rate: float, ids: Iterator[str]) -> None:
        super().__init__(scene, "sender of jobs")
        self._pace = Pace(rate)
        self._ids = ids

    def work(self, client: Client) -> None:
        for id in self._ids:
            self._pace.wait()
            headers = {"report": "processed", "reply_to": REPORTS, "correlation_id": id}
            assert client.ask("SEND", b"job", destination=JOBS, **headers).command == "RECEIPT"
            self.scene.progress()


class JobWorker(Member):
    """Does the jobs: one after the other, each acknowledged with a receipt."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene, "worker of jobs")
        self.done: set[str] = set()  # that was confirmed

    def work(self, client: Client) -> None:
        client.send("SUBSCRIBE", destination=JOBS, id_="1", ack="client-individual")
        while True:
            frame = client.frame()
            if frame.command == "RECEIPT":
                self.done.add(frame.headers["receipt-id"])
                self.scene.progress()
                continue
            id = frame.headers["correlation-id"]
            client.send("ACK", id_=frame.headers["ack"], receipt=id)


class ReportReader(Member):
    """Hears of every job that was done."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene, "reader of reports")
        self.heard: dict[str, set[str]] = defaultdict(set)  # job → message-ids of its reports

    def work(self, client: Client) -> None:
        client.send("SUBSCRIBE", destination=REPORTS, id_="1", ack="client-individual")
        while True:
            frame = client.expect("MESSAGE")
            self.hear(frame)
            client.send("ACK", id_=frame.headers["ack"])
            self.scene.progress()

    def hear(self, frame: Frame) -> None:
        """Note a report."""
        self.heard[frame.headers["correlation-id"]].add(frame.headers["message-id"])


class Gravedigger(Undertaker):
    """Takes the dead letters as they come. One counts when its acknowledgement is confirmed."""

    run = Member.run

    def _read(self, frame: Frame) -> Note:
        return replace(super()._read(frame), kind="seen")

    def _answer(self, client: Client, frame: Frame, note: Note) -> None:
        client.send("ACK", id_=frame.headers["ack"], receipt=self._expect_receipt(note))

    def _confirm(self, frame: Frame) -> None:
        for note in self._open.pop(frame.headers["receipt-id"]):
            self._ledger.note(replace(note, kind=BURIED))
            self.scene.progress()


class Collector(Member):
    """Takes what was moved to a place. It counts what it has acknowledged with a receipt.

    The rest it may see before it is on disk: after a kill that has not been moved, and comes under another id. Or its
    acknowledgement is on disk and the kill took the receipt: then it was moved, and does not come again.
    """

    def __init__(self, scene: Scene, wish: Wish) -> None:
        super().__init__(scene, f"collector of {wish.place}")
        self.login = wish.login
        self.moved: list[str] = []
        self._wish = wish
        self._waiting: deque[Frame] = deque()  # for the receipt of its ACK
        self._in_doubt: list[str] = []  # whose receipt did not come

    def work(self, client: Client) -> None:
        self._take(client)

    def take_the_rest(self, broker: BrokerProcess, stayed: list[str]) -> list[str]:
        """Take what is left; return all that was ever moved there. `stayed`: what was not."""
        with broker.connect(**self.login) as client:
            send_end(client, self._wish.destination)
            self._take(client)
        return self.moved + sorted({*self._in_doubt} - {*self.moved, *stayed})

    def _take(self, client: Client) -> None:
        """Take messages up to the last."""
        self._in_doubt += [message.body.decode() for message in self._waiting]
        self._waiting.clear()
        subscribe(client, self._wish)
        while True:
            frame = client.frame()
            if frame.command == "MESSAGE":
                client.send("ACK", id_=frame.headers["ack"], receipt="ack")
                self._waiting.append(frame)
                continue
            assert frame.command == "RECEIPT", (frame, frame.body)
            message = self._waiting.popleft()
            if END in message.headers:
                return
            self.moved.append(message.body.decode())
            self.scene.progress()


class Calls:
    """A worker and a client of remote calls, which find the broker again by themselves."""

    def __init__(self, url: str, rate: float) -> None:
        self.faults: list[str] = []
        self.answered = 0
        self.lost = 0
        self._pace = Pace(rate)
        self._over = False
        self._worker = rpc.Worker(url, SERVICE, heart_beat=2.0)
        self._worker.method(double)
        self._client = rpc.Client(url, SERVICE, heart_beat=2.0)
        self._threads = [
            threading.Thread(target=self._worker.run, name="rpc worker", daemon=True),
            threading.Thread(target=self._call, name="rpc client", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        for number in count():
            self._pace.wait()
            if self._over:
                return
            try:
                result = self._client.call("double", number, timeout=2 * DEADLINE)
            except (
                rpc.ConnectionLost
            ):  # no broker there just now; the program tries again if it wants to
                self.lost += 1
                continue
            except Exception as error:
                self.faults.append(f"call {number}: {error!r}")
                continue
            if result != 2 * number:
                self.faults.append(f"call {number} was answered {result}")
            self.answered += 1

    def stop(self) -> None:
        """End both, while the broker is there."""
        self._over = True
        self._threads[1].join()
        self._client.close()
        self._worker.stop()
        self._threads[0].join()


def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


class Company:
    """All of them, for one scene."""

    def __init__(self, scene: Scene, ledger: Ledger, name: str, rate: float, seed: int) -> None:
        """`rate`: messages a second of each author; others keep pace with that."""
        chance = random.Random(f"{seed} {name}")
        self.sender = Sender(scene, f"sender {name}", seed)
        self.sender._names = (each for each in paced(self.sender._names, rate / 4))
        self.first = Mover(scene, FIRST, ARCHIVE.destination, seed)
        self.second = Mover(scene, SECOND, MOVED, seed)
        self.archive = Collector(scene, ARCHIVE)
        self.moved = Collector(scene, Wish(MOVED, MOVED))
        self.worker, self.reports = JobWorker(scene), ReportReader(scene)
        self.visitors = [Visitor(scene, f"visitor{n}", rate / 4, seed) for n in range(2)]
        ids = (f"{name} {number}" for number in count())
        self.members: list[Member] = [
            *(self.sender, self.first, self.second, self.archive, self.moved),
            *(self.worker, self.reports, *self.visitors),
            Gravedigger(scene, ledger, {WORK: WORK, NEWS: CHOOSY.place}, seed),
            JobSender(scene, rate / 2, ids),
            Replier(scene, "replier"),
        ]
        for author, write in AUTHORS:
            each = PacedAuthor(scene, ledger, f"{author} {name}", 5, write, seed)
            each.pace(rate / 4 if author == "work" else rate)
            self.members.append(each)
        for number in range(2):
            asker = PacedAsker(scene, ledger, f"asker {number} {name}")
            asker.pace(rate)
            self.members.append(asker)
        for wish, readers in (*READERS, (replace(ABSENT, stays=STAYS), 1)):
            prefetch = max(wish.cumulative, chance.choice((1, 20, 100)))
            wish = replace(wish, prefetch=prefetch, stays=STAYS if wish.stays else 0)
            self.members += [
                Reader(scene, ledger, f"reader {n} of {wish.place}, {wish.colour}", wish, seed)
                for n in range(readers)
            ]

    def hear_the_rest(self, broker: BrokerProcess) -> list[str]:
        """Drain the reports; return what is wrong with them."""
        with broker.connect() as client:
            for frame in drain(client, REPORTS):
                self.reports.hear(frame)
            for frame in drain(client, JOBS):
                if frame.headers["correlation-id"] in self.worker.done:
                    return [f"a job is back that was done: {frame.headers['correlation-id']}"]
        heard = self.reports.heard
        faults = [f"no report of {id}" for id in sorted(self.worker.done - heard.keys())]
        return faults + [f"{len(ids)} reports of {id}" for id, ids in heard.items() if len(ids) > 1]
