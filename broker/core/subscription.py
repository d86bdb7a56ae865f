"""One consumer of a queue: how it acknowledges, how much it may hold, what it holds.

Everything is kept per subscription, never per connection: the acknowledgement mode, the credit, the
messages in flight. A message in flight is found by the key under which its consumer will acknowledge it,
which `deliver` returned when it was handed over.

Acknowledgements inside a transaction are only noted (`held`): the message stays in flight, its credit is
given back at once (so that a transaction larger than the prefetch does not starve, as in ActiveMQ), and
COMMIT or ABORT decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from broker.core.message import Message
from broker.core.reports import PROCESSED, wants_reports
from broker.errors import Refusal

if TYPE_CHECKING:
    from broker.core.queue import Queue
    from broker.core.several import Several
    from broker.core.transaction import Transaction

AUTO, CLIENT, CLIENT_INDIVIDUAL = "auto", "client", "client-individual"

Deliver = Callable[[Message], str]
Wants = Callable[[Message], bool]


class Subscription:
    """A consumer of one queue."""

    __slots__ = (
        "auto",
        "closed",
        "credit",
        "cumulative",
        "deliver",
        "exclusive",
        "held",
        "in_flight",
        "in_line",
        "paused",
        "queue",
        "rank",
        "roams",
        "wants",
    )

    def __init__(
        self,
        queue: Queue | Several,
        mode: str,
        prefetch: int,
        deliver: Deliver,
        wants: Wants | None = None,
        rank: int = 0,
        exclusive: bool = False,
    ) -> None:
        """`prefetch`: messages that may be in flight at once. It does not bind mode `auto`."""
        self.queue = queue
        self.auto = mode == AUTO  # acknowledged as soon as sent
        self.cumulative = mode == CLIENT  # ACK stands for all earlier ones too
        self.credit = prefetch  # messages that may still be handed over
        self.deliver = deliver  # hands a message over, returns the key that will acknowledge it
        self.in_flight: dict[str, Message] = {}  # in the order of delivery
        self.held: dict[str, Transaction] = {}  # keys acknowledged in a transaction that is open
        self.in_line = False  # stands in its queue's line of those who can be served
        self.paused = False  # its connection cannot take more just now
        self.closed = False
        self.wants = wants  # tells which messages it takes; None: all
        self.rank = rank  # those of a higher rank are served first
        self.exclusive = exclusive  # while it is there nobody else is served
        self.roams = False  # takes from any queue of a kind: no reason to keep this one

    @property
    def consumer(self) -> Subscription:
        """What its client subscribed to: itself, unless it is a part of that."""
        return self

    @property
    def chooses(self) -> bool:
        """True when it cannot simply stand in line."""
        return self.wants is not None or self.rank != 0 or self.exclusive

    @property
    def hungry(self) -> bool:
        """True when it may be handed a message."""
        return (self.auto or self.credit > 0) and not self.paused and not self.closed

    def would_take(self, queue: Queue) -> bool:
        """Tell whether it might be handed a message of a queue at once."""
        return self.hungry and queue.waiting > 0

    def ack(self, key: str) -> None:
        """The consumer is done with a message (and, in mode `client`, with all before it)."""
        if self.held or self.cumulative:
            keys = self._covered(key, "ACK")
        else:
            message = self.in_flight.pop(key, None)
            if message is None:
                raise unexpected("ACK", key)
            if message.special:
                self._report_processed(message)
            self.queue.done(message)
            self.credit += 1
            if self.credit == 1:
                self.queue.feed(self)
            return
        for each in keys:
            self._done(each)
        self._give_credit(len(keys))

    def nack(
        self,
        key: str,
        requeue: bool,
        delay: int = 0,
        cumulative: bool = False,
        reason: str = "",
    ) -> None:
        """The consumer refuses this message: it comes again after `delay` ms, or is a dead letter, for a `reason`.

        `cumulative`: and, in mode `client`, all before it (RabbitMQ; with ActiveMQ it is only the one).
        """
        keys = self._covered(key, "NACK") if cumulative else [self._check(key, "NACK")]
        for each in keys:
            self.queue.refuse(self.in_flight.pop(each), requeue, delay, reason, self)
        self._give_credit(len(keys))

    def hold(
        self, key: str, transaction: Transaction, verb: str, cumulative: bool = True
    ) -> list[str]:
        """Note an acknowledgement for COMMIT; return the keys it covers, none if it was covered before."""
        if self.held.get(key) is transaction and key in self.in_flight:
            return []
        keys = self._covered(key, verb) if cumulative else [self._check(key, verb)]
        for each in keys:
            self.held[each] = transaction
        self._give_credit(len(keys))
        return keys

    def settle(self, keys: Iterable[str]) -> None:
        """COMMIT of acknowledgements that were held."""
        for key in keys:
            del self.held[key]
            self._done(key)
        self._settled()

    def settle_refusal(
        self, keys: Iterable[str], requeue: bool, delay: int, reason: str = ""
    ) -> None:
        """COMMIT of NACKs that were held."""
        for key in keys:
            del self.held[key]
            self.queue.refuse(self.in_flight.pop(key), requeue, delay, reason, self)
        self._settled()

    def release(self, keys: list[str]) -> None:
        """ABORT of acknowledgements that were held: the consumer still has the messages.

        They are not delivered again (ActiveMQ): it acknowledges them once more or goes away.
        """
        for key in keys:
            del self.held[key]
        if self.closed:
            self.queue.give_back([self.in_flight.pop(key) for key in keys])
            self._settled()
        else:
            self.credit -= len(keys)
            if not self.hungry:
                self.queue.rest(self)

    def stop(self) -> None:
        """Take no more messages. A connection stops all its consumers before it closes the first."""
        if not self.closed:
            self.closed = True
            self.queue.leave(self)
            if self.held:
                self.queue.owed.add(self)

    def close(self, died: bool = False) -> None:
        """The consumer is gone: what it held goes back to its place at once.

        What an open transaction holds stays with the transaction. If it `died`, it may have died of the
        oldest message that it had not acknowledged: that one counts as refused, so that a message which
        kills its consumers ends among the dead letters; the others were only waiting behind it.
        """
        self.stop()
        keys = [key for key in self.in_flight if key not in self.held]
        back = [self.in_flight.pop(key) for key in keys]
        if died and back:
            self.queue.refuse(back.pop(0), requeue=True, by=self)
        self.queue.give_back(back)

    def pause(self) -> None:
        """Hand over no more for now: the connection's output is full."""
        self.paused = True
        self.queue.rest(self)

    def resume(self) -> None:
        """The connection can take more again."""
        self.paused = False
        self.queue.feed(self)

    def let_go(self) -> None:
        """Its queue is no more; only one that `roams` is not asked before."""
        self.stop()

    def _done(self, key: str) -> None:
        """A message is acknowledged for good."""
        message = self.in_flight.pop(key)
        if message.special:
            self._report_processed(message)
        self.queue.done(message)

    def _report_processed(self, message: Message) -> None:
        if wants_reports(message):
            home = self.queue.home_of(message)
            home.broker.reports.ended(home, message, PROCESSED, by=self)

    def _settled(self) -> None:
        if self.closed and not self.held:
            self.queue.owed.discard(self)

    def _check(self, key: str, verb: str) -> str:
        if key not in self.in_flight or key in self.held:
            raise unexpected(verb, key)
        return key

    def _covered(self, key: str, verb: str) -> list[str]:
        """Return the keys that an ACK of `key` stands for."""
        self._check(key, verb)
        if not self.cumulative:
            return [key]
        covered = []
        for each in self.in_flight:
            if each not in self.held:
                covered.append(each)
            if each == key:
                break
        return covered

    def _give_credit(self, count: int) -> None:
        self.credit += count
        self.queue.feed(self)


def unexpected(verb: str, key: str) -> Refusal:
    """The fault of an ACK or NACK for what is not in flight, in ActiveMQ's words."""
    return Refusal(
        f"Unexpected {verb} received for message-id [{key}]",
        "No unacknowledged message of this connection has this id: it was acknowledged before,"
        " belongs to another subscription, or was delivered with ack:auto.",
    )
