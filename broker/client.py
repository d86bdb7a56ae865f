"""What the verbs of one client share: who it is, how it is answered, what it holds.

Temporary destinations are a client's own. `/temp-queue/x` means something to it alone; everybody else,
and the core, knows the same by a name of its own, `/remote-temp-queue/…`. `resolve` and `resolve_reply_to`
change the one into the other, and make what is mentioned for the first time; `own_names` changes it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from secrets import token_hex
from typing import NamedTuple

from broker.answers import receipt_frame
from broker.clearance import Clearance
from broker.core.broker import Broker
from broker.core.names import (
    OWN_QUEUE,
    OWN_TOPIC,
    PREFIXES,
    TEMP_QUEUE,
    TEMP_TOPIC,
    listed,
    no_name,
)
from broker.core.temporary import TempQueue, TempTopic
from broker.core.transaction import Transaction
from broker.dialect import Dialect
from broker.errors import Refusal
from broker.options import Options
from broker.outbox import Outbox
from broker.person import Person
from broker.rights import CREATE, Rights

OWN = (OWN_QUEUE, OWN_TOPIC)
ID_BYTES = 1000  # of an id that is remembered as long as what it names: UUIDs have 36


class Producer(NamedTuple):
    """A client that sends to a destination; STOMP knows no more of producers."""

    client: Client
    destination: str


class Stamp:
    """The line that says when a message came; the same for all of a turn."""

    __slots__ = ("line",)

    def __init__(self) -> None:
        self.line = b"\n"  # what stands between a message-id and the next header


class Client:
    """One client of the broker, after CONNECT."""

    def __init__(
        self,
        version: str,
        dialect: Dialect,
        broker: Broker,
        options: Options,
        outbox: Outbox,
        promise: Callable[[bytes], None],
        session: str,
        person: Person,
        client_id: str,
        stamp: Stamp,
        rights: Rights,
    ) -> None:
        """`promise` says something once everything done so far is durable; `session` is unique."""
        self.version = version
        self.dialect = dialect
        self.broker = broker
        self.options = options
        self.outbox = outbox
        self.promise = promise
        self.session = session
        self.person = person
        self.login = person.login
        self.client_id = client_id
        self.stamp = stamp
        self.temporaries: dict[str, TempQueue | TempTopic] = {}  # by its own names for them
        self.own_names: dict[str, str] = {}  # everybody's name for them → its own
        self.clearance = Clearance(rights, person, broker.routes, self.own_names)
        self.transactions: dict[str, Transaction] = {}

    # What it holds.

    def resolve(self, destination: str) -> str:
        """Return a destination as everybody knows it. Raises `Refusal` for what the dialect has not."""
        dialect = self.dialect
        if dialect.unprefixed_error:
            for element in listed(destination):
                if not element.strip().startswith(PREFIXES):
                    raise Refusal(
                        dialect.unprefixed_error.format(element),
                        "A destination reads /queue/NAME or /topic/NAME.",
                    )
        if "/temp-" not in destination:
            return destination
        elements = [element.strip() for element in listed(destination)]
        if dialect.reply_to_subscribes and any(element.startswith(OWN) for element in elements):
            raise Refusal(
                "Invalid destination",
                f"{destination} is for replies: name it in a reply-to, and they come.",
            )
        return ",".join(map(self._resolve, elements))

    def resolve_reply_to(self, reply_to: str) -> str:
        """Return what the receiver of a message sees: only a temporary destination has another name."""
        if not reply_to.lstrip().startswith(OWN):
            return reply_to
        return ",".join(self._resolve(element.strip()) for element in listed(reply_to))

    def temporary(self, name: str) -> TempQueue | TempTopic:
        """Return its temporary destination of this name, made on first use. Raises `Refusal`."""
        temporary = self.temporaries.get(name)
        if temporary is None:
            if name in OWN:
                raise no_name()
            check_id(name, "destination")
            most = self.options.max_subscriptions
            if len(self.temporaries) >= most:
                raise Refusal(
                    f"Too many temporary destinations: a connection has {most} at most",
                    "Use one for all replies, or another connection.",
                )
            is_topic = name.startswith(OWN_TOPIC)
            # Whoever knows the name may send there: it is nothing to be guessed.
            made = f"{self.session}-{token_hex(8)}"
            self.clearance.check(CREATE, (TEMP_TOPIC if is_topic else TEMP_QUEUE) + made)
            temporary = self.broker.routes.temporary(made, is_topic)
            self.temporaries[name] = temporary
            self.own_names[temporary.destination] = name
        return temporary

    def _resolve(self, element: str) -> str:
        return self.temporary(element).destination if element.startswith(OWN) else element

    def transaction(self, headers: dict[str, str]) -> Transaction:
        """Return the open transaction that a frame names. Raises `Refusal`."""
        name = headers["transaction"]
        transaction = self.transactions.get(name)
        if transaction is None:
            raise Refusal(
                f"Invalid transaction id: {name}", "BEGIN it on this connection before using it."
            )
        return transaction

    def leave(self) -> None:
        """It is gone, and its temporary destinations with it."""
        temporaries, self.temporaries = self.temporaries, {}
        for each in temporaries.values():
            self.broker.routes.end(each)

    # How it is answered.

    def say_receipt(self, headers: dict[str, str]) -> None:
        """Answer at once: nothing of it goes to disk."""
        receipt = headers.get("receipt")
        if receipt is not None:
            self.outbox.say(receipt_frame(receipt, self.version))

    def promise_receipt(self, headers: dict[str, str]) -> None:
        """Answer once it is on disk."""
        receipt = headers.get("receipt")
        if receipt is not None:
            self.promise(receipt_frame(receipt, self.version))


def check_id(id: str, header: str) -> None:
    """Raise `Refusal` for an id that is too long to be remembered."""
    if len(id.encode()) > ID_BYTES:
        raise Refusal(
            f"The header {header} is longer than {ID_BYTES} bytes",
            "Use a shorter id: a UUID has 36.",
        )


def number(headers: Mapping[str, str], name: str, default: int, meaning: str) -> int:
    """Return a header's whole number, or `default` if it is missing. Raises `Refusal`."""
    text = headers.get(name)
    if text is None:
        return default
    bare = text.strip()  # not all that this takes for blank is blank to `int`
    digits = bare.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise Refusal(f"Invalid {name}: {text}", f"{name} is {meaning}.")
    return int(bare)


def flag(headers: Mapping[str, str], name: str) -> bool:
    """Return whether a header says true; a missing one does not. Raises `Refusal` for other words.

    Python's clients write True and False.
    """
    text = headers.get(name, "false")
    said = text.strip().lower()
    if said not in ("true", "false"):
        raise Refusal(f"Invalid {name}: {text}", f"{name} is true or false.")
    return said == "true"


def first(headers: Mapping[str, str], names: Sequence[str]) -> str | None:
    """Return the value of the first header of several names that mean the same, or None."""
    return next((headers[name] for name in names if name in headers), None)
