"""Who sends and who consumes when everything is in play: producers, subscribers, workers, and their drains.

Everybody goes on over any number of broker deaths (`crowd.Member`) and notes in a `Ledger` what they did and
heard. A message says in a header `fate` what its consumers are to do with it, so that a run depends on its seed
and on when the broker dies, and on nothing else.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from broker.stomp import Frame
from tests.durability.crowd import LAST, Member, Scene
from tests.durability.ledger import (
    ACK,
    ACK_CONFIRMED,
    ACKED,
    ANSWERED,
    ASKED,
    BURIED,
    CONFIRMED,
    DELIVERED,
    KILL,
    LATER,
    LEFT,
    NACK,
    NACK_CONFIRMED,
    NACKED,
    RETURN,
    RETURN_CONFIRMED,
    RETURNED,
    Ledger,
    Name,
    Note,
    Sent,
)
from tests.durability.verdicts import answer_to
from tests.harness import BrokerProcess, Client

END = "end"  # the header of what is sent last
RED = "red"
FAR_BACK = 5000  # SENDs among which one is chosen to be sent again: fewer than a dedup window
AWAY = 1000  # acknowledgements that somebody who comes and goes misses at most
REQUESTS = "/queue/requests"
DEAD_LETTERS = "/queue/ActiveMQ.DLQ"


def now() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def headers_of(sent: Sent) -> dict[str, str]:
    """Return the headers of a SEND."""
    headers = {
        "destination": sent.destination,
        "persistent": "true",
        "producer": sent.producer,
        "number": str(sent.number),
        "fate": sent.fate,
    }
    if sent.colour:
        headers["colour"] = sent.colour
    if sent.group:
        headers["JMSXGroupID"] = sent.group
    if sent.dedup:
        headers["dedup-id"] = f"{sent.producer} {sent.number}"
    if sent.delay:
        headers["AMQ_SCHEDULED_DELAY"] = str(sent.delay)
    if sent.repeat:
        headers["AMQ_SCHEDULED_PERIOD"] = str(sent.period)
        headers["AMQ_SCHEDULED_REPEAT"] = str(sent.repeat)
    return headers


def send(client: Client, headers: dict[str, str], body: bytes = b"") -> None:
    """Send a SEND whose headers have any names."""
    client.write(Frame("SEND", headers, body).encode(client.version))


class Author(Member):
    """Sends messages, `window` of them without a receipt; those with a dedup-id again until confirmed."""

    def __init__(
        self,
        scene: Scene,
        ledger: Ledger,
        name: str,
        window: int,
        write: Callable[[random.Random, Sent], Sent],
        seed: int,
    ) -> None:
        """`write` makes of an empty message what is to be sent."""
        super().__init__(scene, name)
        self._ledger = ledger
        self._window = window
        self._write = write
        self._chance = random.Random(f"{seed} {name}")
        self._waiting: deque[Sent] = deque()  # sent, and not confirmed in this life
        self._again: deque[Sent] = deque()  # not confirmed in lives before
        self._confirmed: deque[Sent] = deque(maxlen=FAR_BACK)
        self._next = 0

    def work(self, client: Client) -> None:
        self._again.extendleft(reversed(self._waiting))
        self._waiting.clear()
        while True:
            while len(self._waiting) < self._window:
                sent = self._choose()
                self._waiting.append(sent)
                headers = {**headers_of(sent), "receipt": str(sent.number)}
                send(client, headers, bytes(sent.size))
            sent = self._waiting[0]
            client.expect("RECEIPT", receipt_id=str(sent.number))
            self._waiting.popleft()
            self._confirmed.append(sent)
            self._ledger.note(Note(CONFIRMED, sent.destination, sent.name, self.life, at=now()))

    def _choose(self) -> Sent:
        """Return the next message: one of old, one that was confirmed long ago, or a new one."""
        while self._again:
            sent = self._again.popleft()
            if sent.dedup:
                return sent
        if self._confirmed and self._chance.random() < 0.02:
            sent = self._chance.choice(self._confirmed)
            if sent.dedup:
                return sent
        [size] = self._chance.choices((0, 100, 2000, 100_000), (30, 30, 30, 1))
        empty = Sent(self.name, self._next, "", at=now(), size=size)
        self._next += 1
        sent = self._write(self._chance, empty)
        self._ledger.sent[sent.name] = sent
        return sent


@dataclass
class Wish:
    """How a reader subscribes, and behaves."""

    destination: str
    place: str
    headers: dict[str, str] = field(default_factory=dict)  # of SUBSCRIBE
    client_id: str = ""
    colour: str = ""  # its selector asks for it
    prefetch: int = 20
    cumulative: int = 0  # messages that one ACK is for; 0: each has its own
    refuses: bool = False  # it obeys the fates that are hard on a message
    stays: int = 0  # messages after which it goes, and comes back, on average; 0: it stays

    @property
    def login(self) -> dict[str, str]:
        """The headers of its CONNECT."""
        return {"client-id": self.client_id} if self.client_id else {}


class Reader(Member):
    """Takes what comes to a place and does with it what its fate says, with a receipt for everything."""

    _given_back: tuple[str, ...] = (RETURN, LATER)

    def __init__(self, scene: Scene, ledger: Ledger, name: str, wish: Wish, seed: int) -> None:
        super().__init__(scene, name)
        self.login = wish.login
        self._ledger = ledger
        self._wish = wish
        self._chance = random.Random(f"{seed} {name}")
        self._session = 0
        self._receipts = count(1)
        self._open: dict[str, tuple[Note, ...]] = {}  # receipt → what will be confirmed by it
        self._held: list[tuple[str, Note]] = []  # for the next cumulative ACK

    def live(self, broker: BrokerProcess) -> None:
        while not self.visit(broker):
            if self._wish.stays:
                self.scene.pause(self._chance.randint(0, AWAY), self.life)

    def visit(self, broker: BrokerProcess) -> bool:
        """Connect and consume; True if the end of all messages has come, False if this reader went."""
        self._session = self._ledger.next_session()
        if self._wish.colour:
            self._ledger.choosers[self._session] = self._wish.colour
        self._open.clear()
        self._held.clear()
        with log_in(broker, self._wish) as client:
            subscribe(client, self._wish)
            return self._consume(client)

    def _consume(self, client: Client) -> bool:
        left = self._chance.randint(2, 2 * self._wish.stays) if self._wish.stays else -1
        ended = False
        while True:
            if ended and not self._open:
                return True
            frame = client.frame()
            if frame.command == "RECEIPT":
                self._confirm(frame)
                continue
            assert frame.command == "MESSAGE", (frame, frame.body)
            if END in frame.headers:
                if self._held:
                    self._acknowledge_held(client)
                client.send("ACK", id_=frame.headers["ack"], receipt=self._expect_receipt())
                ended = True
                continue
            note = self._read(frame)
            self._ledger.note(note)
            left -= 1
            dies = self._wish.refuses and frame.headers["fate"] == KILL
            if dies or left == 0:
                self._leave(client, dies)
                return False
            self._answer(client, frame, note)

    def _read(self, frame: Frame) -> Note:
        headers = frame.headers
        return Note(
            DELIVERED,
            self._wish.place,
            (headers["producer"], int(headers["number"])),
            self.life,
            self._session,
            headers["message-id"],
            headers.get("redelivered") == "true",
            int(headers.get("JMSXDeliveryCount", "1")),
            now(),
            int(headers["timestamp"]),
            headers.get("scheduledJobId", ""),
            len(frame.body),
        )

    def _answer(self, client: Client, frame: Frame, note: Note) -> None:
        """Do with a message what its fate says."""
        fate = frame.headers["fate"] if self._wish.refuses else ACK
        ack = frame.headers["ack"]
        again = "JMSXDeliveryCount" not in frame.headers  # nobody has failed on it yet
        if self._wish.cumulative:
            self._held.append((ack, note))
            if len(self._held) >= self._wish.cumulative:
                self._acknowledge_held(client)
        elif fate == NACK:
            receipt = self._promise(NACKED, note)
            client.send("NACK", id_=ack, receipt=receipt)
        elif fate in self._given_back and again:
            receipt = self._promise(RETURNED, note)
            delay = self._chance.randint(1, 300) if fate == LATER else 0
            client.send("NACK", id_=ack, requeue="true", delay=str(delay), receipt=receipt)
        else:
            receipt = self._promise(ACKED, note)
            client.send("ACK", id_=ack, receipt=receipt)

    def _promise(self, kind: str, *notes: Note) -> str:
        """Note what is done now with messages; return the receipt that will confirm it."""
        notes = tuple(replace(note, kind=kind, at=now()) for note in notes)
        for note in notes:
            self._ledger.note(note)
        return self._expect_receipt(*notes)

    def _expect_receipt(self, *notes: Note) -> str:
        """Return the receipt that will confirm what was noted."""
        receipt = str(next(self._receipts))
        self._open[receipt] = notes
        return receipt

    def _acknowledge_held(self, client: Client) -> None:
        """One ACK for all that was read since the last one."""
        ack = self._held[-1][0]
        client.send("ACK", id_=ack, receipt=self._promise(ACKED, *(n for _, n in self._held)))
        self._held.clear()

    def _confirm(self, frame: Frame) -> None:
        for note in self._open.pop(frame.headers["receipt-id"]):
            self._ledger.note(replace(note, kind=CONFIRMED_AS[note.kind], at=now()))
            self.scene.progress()

    def _leave(self, client: Client, dies: bool) -> None:
        """Go: without a word, or as is proper. What it was handed and did not note goes back."""
        self._ledger.note(Note(LEFT, self._wish.place, ("", 0), self.life, self._session, at=now()))
        if dies or self._chance.random() < 0.5:
            return
        client.send("UNSUBSCRIBE", id_="1", receipt="bye")
        while (frame := client.frame()).command == "MESSAGE" or frame.headers[
            "receipt-id"
        ] != "bye":
            if frame.command == "RECEIPT":
                self._confirm(frame)


CONFIRMED_AS = {ACKED: ACK_CONFIRMED, NACKED: NACK_CONFIRMED, RETURNED: RETURN_CONFIRMED}


def log_in(broker: BrokerProcess, wish: Wish) -> Client:
    """Return a client that is logged in as somebody wishes."""
    login = {"accept-version": "1.2", "host": "", **wish.login}
    while True:
        client = Client(broker.port, None)
        try:
            client.write(Frame("CONNECT", login).encode("1.0"))
            answer = client.frame()
            if answer.command == "CONNECTED":
                client.parser.version = "1.2"
                return client
            # The broker may not have noticed yet that the last one of this client-id hung up.
            assert "already connected" in answer.headers["message"], (answer, answer.body)
        except BaseException:
            client.close()
            raise
        client.close()


def subscribe(client: Client, wish: Wish) -> None:
    """Subscribe as somebody wishes, and wait until it is done."""
    headers = {
        "destination": wish.destination,
        "id": "1",
        "ack": "client" if wish.cumulative else "client-individual",
        "activemq.prefetchSize": str(wish.prefetch),
        "receipt": "subscribed",
        **wish.headers,
    }
    if wish.colour:
        headers["selector"] = f"colour = '{wish.colour}'"
    data = Frame("SUBSCRIBE", headers).encode("1.2")
    client.write(data)
    while (answer := client.frame()).command == "ERROR":
        assert "in use" in answer.headers["message"], (answer, answer.body)
        client.write(data)  # as above
    assert answer.command == "RECEIPT", answer


class Drain(Reader):
    """The one consumer of a place in the last life: takes all that is left, up to what was sent last."""

    _given_back = ()  # it would come again behind the last

    def run(self) -> None:
        """Work with the broker of the moment, which must live on."""
        try:
            self.life = self.scene.life
            self.live(self.scene.broker)
        except BaseException as error:
            self.failure = error


class Undertaker(Drain):
    """Drains the dead letters, and notes where they come from."""

    def __init__(self, scene: Scene, ledger: Ledger, places: dict[str, str], seed: int) -> None:
        """`places`: original destination → place."""
        super().__init__(scene, ledger, "undertaker", Wish(DEAD_LETTERS, DEAD_LETTERS), seed)
        self._places = places

    def _read(self, frame: Frame) -> Note:
        note = super()._read(frame)
        place = self._places[frame.headers["original-destination"]]
        return replace(note, kind=BURIED, place=place)

    def _answer(self, client: Client, frame: Frame, note: Note) -> None:
        client.send("ACK", id_=frame.headers["ack"], receipt=self._expect_receipt())


class Asker(Member):
    """Asks, and gets answers in a temporary queue; some of its requests outlive it."""

    def __init__(self, scene: Scene, ledger: Ledger, name: str) -> None:
        super().__init__(scene, name)
        self._ledger = ledger
        self._next = 0

    def work(self, client: Client) -> None:
        session, waiting = self._ledger.next_session(), 0
        mine = f"/temp-queue/answers to {self.name}"
        client.ask("SUBSCRIBE", destination=mine, id_="1")
        while True:
            while waiting < 5:
                name, self._next = (self.name, self._next), self._next + 1
                self._ledger.note(self._note(ASKED, name, session))
                client.write(
                    Frame(
                        "SEND",
                        {
                            "destination": REQUESTS,
                            "reply-to": mine,
                            "correlation-id": f"{name[0]}/{name[1]}",
                            "persistent": "true" if name[1] % 2 else "false",
                        },
                    ).encode("1.2")
                )
                waiting += 1
            answer = client.expect("MESSAGE", destination=mine)
            asker, _, number = answer.headers["correlation-id"].partition("/")
            text = answer.body.decode()
            self._ledger.note(self._note(ANSWERED, (asker, int(number)), session, text))
            waiting -= 1
            self.scene.progress()

    def _note(self, kind: str, name: Name, session: int, text: str = "") -> Note:
        return Note(kind, REQUESTS, name, self.life, session, at=now(), text=text)


class Replier(Member):
    """Answers everybody; of some only the request is left, and no place for an answer."""

    def work(self, client: Client) -> None:
        client.ask("SUBSCRIBE", destination=REQUESTS, id_="1")
        while True:
            frame = client.frame()
            if frame.command == "ERROR":
                assert "temp" in frame.headers["message"].lower(), (frame, frame.body)
                continue
            asker, _, number = frame.headers["correlation-id"].partition("/")
            client.send(
                "SEND",
                answer_to((asker, int(number))).encode(),
                destination=frame.headers["reply-to"],
                correlation_id=frame.headers["correlation-id"],
                persistent="false",
            )


def send_end(client: Client, destination: str, **headers: str) -> None:
    """Send what nothing follows: of lowest priority, or scheduled last."""
    last = {"destination": destination, END: "1", "colour": RED, "persistent": "true"}
    last |= {"priority": str(LAST), "receipt": END, **headers}
    send(client, last)
    client.expect("RECEIPT", receipt_id=END)
