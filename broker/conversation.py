"""What each STOMP command does: frames become the core's verbs.

The protocol as this broker speaks it (1.0, 1.1, 1.2), once CONNECT has been answered:

    client                          broker
    SEND                        →   RECEIPT once the message is on disk or consumed
    SUBSCRIBE                   →   RECEIPT, then MESSAGE after MESSAGE as long as there is credit
    ACK, NACK                   →   RECEIPT once the store knows it
    BEGIN … COMMIT / ABORT      →   all of it in one batch, or nothing
    UNSUBSCRIBE                 →   RECEIPT, and no MESSAGE after it; what was not acknowledged goes back
    DISCONNECT                  →   RECEIPT as the last frame, and the link closes
    anything wrong              →   `StompError`, which `broker.connection` answers

Knows no bytes and no links. A verb checks everything before it changes anything, so that a refused frame
leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from broker.answers import receipt_frame
from broker.consumer import Consumer
from broker.core.broker import Broker
from broker.core.message import DEFAULT_PRIORITY, Message
from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL, unexpected
from broker.core.topic import Topic, TopicQueue
from broker.core.transaction import Transaction
from broker.errors import Refusal
from broker.options import Options
from broker.outbox import Outbox
from broker.stomp.frame import Frame
from broker.stomp.template import Template
from broker.tail import END, ID, middle, middle_form

#: Headers of a SEND that take it off the common way.
UNCOMMON = frozenset(("expiration", "expires", "priority", "transaction", "ttl"))
#: Headers of a SUBSCRIBE that would be wrong to ignore, and the values beside "" that ask for nothing.
UNSUPPORTED = {
    "selector": (),
    "browser": ("false",),
    "activemq.subscriptionName": (),
    "activemq.subcriptionName": (),
    "durable": ("false",),
}

UNLIMITED = 2**31


#: A SEND's headers, understood: where it goes, the tail between message-id and body, is it stored.
Meaning = tuple[Callable[[Message], object], bytes, bool]
#: The same for a template: the bytes have holes for its values and the body's length; and which value is
#: the receipt (-1: none is asked for).
Plan = tuple[Callable[[Message], object], bytes, bool, int]
#: Headers whose value decides what becomes of a SEND.
INTERPRETED = UNCOMMON | {"destination", "persistent"}


class Conversation:
    """What one client says after CONNECT, and what it holds."""

    def __init__(
        self,
        version: str,
        broker: Broker,
        options: Options,
        id_prefix: bytes,
        outbox: Outbox,
        promise: Callable[[bytes], None],
        end: Callable[[bytes], None],
    ) -> None:
        """`promise` says something once everything done so far is durable; `end` does so as the last word.

        `id_prefix` begins the ids of messages that arrive here; no two stores or runs share one.
        """
        self.verbs = VERBS[version]
        self.consumers: dict[str, Consumer] = {}  # by number, hence in the order of SUBSCRIBE
        self._version = version
        self._broker = broker
        self._options = options
        self._id_start = ID + id_prefix
        self._outbox = outbox
        self._promise = promise
        self._end = end
        self._paused = False  # the client reads too slowly to be handed more
        self._numbers = count(1)
        self._transactions: dict[str, Transaction] = {}
        # What an ACK or NACK is about. A function, not a method: a conversation that knows itself would
        # stay until the garbage collector looks.
        self._acknowledged = (
            Conversation._by_ack_id if version == "1.2" else Conversation._by_message_id
        )
        # The last SEND's headers and what they meant: a producer mostly repeats itself, and the parser
        # hands out the same dict for the same bytes.
        self._sent: dict[str, str] | None = None
        self._meaning: Meaning = (self._nowhere, b"", False)
        self._plans: dict[Template | None, Plan] = {}  # what templates of a SEND mean
        self._changes = 0

    @staticmethod
    def _nowhere(message: Message) -> None:
        raise AssertionError("the first SEND says where to")

    def pause(self, paused: bool) -> None:
        """Hand over no more messages, or go on."""
        self._paused = paused
        for consumer in list(self.consumers.values()):
            if paused:
                consumer.pause()
            else:
                consumer.resume()

    def leave(self) -> None:
        """The client is gone or going: what it held is free at once."""
        consumers, self.consumers = list(self.consumers.values()), {}
        transactions, self._transactions = list(self._transactions.values()), {}
        for consumer in consumers:
            consumer.stop()
        for transaction in transactions:
            transaction.abort()
        for consumer in consumers:
            consumer.close()

    def _send(self, frame: Frame) -> None:
        broker = self._broker
        body = frame.body
        if self._changes != broker.routes.changes:
            self._changes = broker.routes.changes
            self._sent = None
            self._plans.clear()
        plan = self._plans.get(frame.template)
        if plan is not None:
            put, form, durable, receipt = plan
            lines = form % (*frame.values, len(body))
            asked = None if receipt < 0 else frame.values[receipt].decode()
        else:
            headers = frame.headers
            if headers is not self._sent:
                if not UNCOMMON.isdisjoint(headers):
                    self._send_uncommon(frame)
                    return
                self._meaning = self._read_send(frame)
                # Without a content-length equal headers may have bodies of other lengths.
                self._sent = headers if "content-length" in headers else None
            put, lines, durable = self._meaning
            asked = headers.get("receipt")
            if frame.template is not None:
                self._plan(frame.template)
        if (broker.journal if durable else broker.memory).room < len(body) + len(lines):
            broker.admit(durable, len(body) + len(lines))
        seq = broker.next_seq
        broker.next_seq = seq + 1
        tail = b"".join((self._id_start, b"%d\n" % seq, lines, body, END))
        put(Message(seq, tail, durable, frame.plain))
        if asked is not None:
            (self._promise if durable else self._outbox.say)(receipt_frame(asked, self._version))

    def _plan(self, template: Template) -> None:
        """Remember what the SENDs of a template mean, if its values do not change that."""
        holes = template.holes
        if INTERPRETED.isdisjoint(holes) and (
            "receipt" in holes or "receipt" not in template.headers
        ):
            put, _, durable = self._meaning
            receipt = holes.index("receipt") if "receipt" in holes else -1
            self._plans[template] = put, middle_form(template), durable, receipt

    def _send_uncommon(self, frame: Frame) -> None:
        """A SEND with a priority, an expiry or a transaction."""
        headers = frame.headers
        broker = self._broker
        put, lines, durable = self._read_send(frame)
        priority = number(headers, "priority", DEFAULT_PRIORITY, "a whole number from 0 to 9")
        priority = min(9, max(0, priority))
        expires = number(headers, "expires", 0, "milliseconds since 1970")
        for name in ("ttl", "expiration"):
            lifetime = number(headers, name, 0, "milliseconds")
            if lifetime > 0 and not expires and "expires" not in headers:
                expires = broker.now + lifetime
                lines = b"expires:%d\n%b" % (expires, lines)
        body, plain = frame.body, frame.plain

        def send(put: Callable[[Message], object]) -> None:
            seq = broker.next_seq
            broker.next_seq = seq + 1
            if not expires or expires > broker.now:
                tail = b"".join((self._id_start, b"%d\n" % seq, lines, body, END))
                put(Message(seq, tail, durable, plain, priority, expires))

        if "transaction" in headers:
            # Before COMMIT the destination may be removed as idle, and made anew: look for it then.
            find, destination = broker.routes.find, headers["destination"]
            transaction = self._transaction(headers)
            broker.admit(False, len(body) + len(lines))
            transaction.send(lambda: send(find(destination).put), len(body) + len(lines), durable)
            self._say_receipt(headers)  # as ActiveMQ: taken into the transaction
            return
        broker.admit(durable, len(body) + len(lines))
        send(put)
        self._promise_receipt(headers)

    def _read_send(self, frame: Frame) -> Meaning:
        """Return where a SEND goes, the tail between its message-id and its body, whether it is stored."""
        headers = frame.headers
        destination = headers.get("destination")
        if destination is None:
            raise Refusal(
                "SEND received without a Destination specified!",
                "Add a header destination:/queue/NAME or destination:/topic/NAME.",
            )
        routes = self._broker.routes
        route = routes.get(destination) or routes.find(destination)
        persistent = headers.get("persistent")
        durable = route.durable and (
            self._options.default_persistent if persistent is None else persistent != "false"
        )
        return route.put, middle(frame), durable

    def _subscribe(self, frame: Frame) -> None:
        headers = frame.headers
        destination = headers.get("destination", "")
        if not destination.strip():
            raise Refusal(
                "Invalid empty or 'null' Destination header",
                "Add a header destination:/queue/NAME or destination:/topic/NAME.",
            )
        id = headers.get("id")
        if id is None and self._version != "1.0":
            raise Refusal(
                "SUBSCRIBE received without a subscription id!",
                f"STOMP {self._version} needs a header id, unique on the connection.",
            )
        if id is not None and any(consumer.id == id for consumer in self.consumers.values()):
            raise Refusal(
                f"Duplicated subscription identifier: {id}",
                "Every subscription of a connection needs an id of its own.",
            )
        for name, harmless in UNSUPPORTED.items():
            if headers.get(name, "") not in ("", *harmless):
                raise Refusal(
                    f"The header {name} of SUBSCRIBE is not supported",
                    "The subscription was not made, because ignoring it would give wrong messages.",
                )
        mode = headers.get("ack", AUTO)
        if mode not in (AUTO, CLIENT, CLIENT_INDIVIDUAL):
            mode = AUTO  # as ActiveMQ
        prefetch = self._prefetch(headers)
        route = self._broker.routes.find(destination)
        queue = TopicQueue(self._broker, route) if isinstance(route, Topic) else route
        consumer = Consumer(
            queue,
            mode,
            prefetch,
            id,
            destination,
            str(next(self._numbers)),
            self._version,
            self._outbox,
        )
        consumer.paused = self._paused
        self.consumers[consumer.number] = consumer
        queue.join(consumer)
        self._say_receipt(headers)  # before the first MESSAGE
        queue.feed(consumer)

    def _prefetch(self, headers: dict[str, str]) -> int:
        for name in ("activemq.prefetchSize", "prefetch-count"):
            if name in headers:
                prefetch = number(headers, name, 0, "a whole number of messages")
                if prefetch == 0 and name == "prefetch-count":  # RabbitMQ's word for no limit
                    return UNLIMITED
                if prefetch < 1:
                    raise Refusal(f"{name} must be at least 1, not {prefetch}")
                return prefetch
        return self._options.prefetch

    def _unsubscribe(self, frame: Frame) -> None:
        headers = frame.headers
        id, destination = headers.get("id"), headers.get("destination")
        if id is None and self._version != "1.0":
            raise Refusal(
                "UNSUBSCRIBE received without a subscription id!",
                f"STOMP {self._version} needs the header id of the SUBSCRIBE.",
            )
        if id is None and destination is None:
            raise Refusal(
                "Must specify the subscriptionId or the destination you are unsubscribing from",
                "Repeat the header id or destination of the SUBSCRIBE.",
            )
        for consumer in self.consumers.values():
            if consumer.id == id if id is not None else consumer.destination == destination:
                del self.consumers[consumer.number]
                consumer.close()
                self._say_receipt(headers)
                return
        raise Refusal(
            "No subscription matched.", f"This connection has no subscription {id or destination}."
        )

    def _ack(self, frame: Frame) -> None:
        headers = frame.headers
        consumer, key = self._acknowledged(self, headers, "ACK")
        if "transaction" in headers:
            self._transaction(headers).ack(consumer, key)
            self._say_receipt(headers)
        else:
            consumer.ack(key)
            if "receipt" in headers:
                self._promise_receipt(headers)

    def _nack(self, frame: Frame) -> None:
        headers = frame.headers
        consumer, key = self._acknowledged(self, headers, "NACK")
        requeue = headers.get("requeue") == "true"
        if "transaction" in headers:
            self._transaction(headers).nack(consumer, key, requeue)
            self._say_receipt(headers)
        else:
            consumer.nack(key, requeue)
            self._promise_receipt(headers)

    def _nack_in_1_0(self, frame: Frame) -> None:
        raise Refusal(
            "NACK received but connection is in v1.0 mode.",
            "NACK came with STOMP 1.1: connect with accept-version:1.1,1.2.",
        )

    def _by_ack_id(self, headers: dict[str, str], verb: str) -> tuple[Consumer, str]:
        """Return the subscription that an ACK or NACK is about, and the key of the message: 1.2."""
        key = headers.get("id")
        if key is None:
            raise Refusal(
                "ACK received without a ack id for acknowledge!"
                if verb == "ACK"
                else "NACK received without an ack header to acknowledge!",
                "STOMP 1.2: the header id repeats the header ack of the MESSAGE.",
            )
        consumer = self.consumers.get(key.partition("-")[0])
        if consumer is None:
            raise unexpected(verb, key)
        return consumer, key

    def _by_message_id(self, headers: dict[str, str], verb: str) -> tuple[Consumer, str]:
        """The same for 1.0 and 1.1."""
        key = headers.get("message-id")
        if key is None:
            raise Refusal(
                f"{verb} received without a message-id to acknowledge!",
                "The header message-id repeats that of the MESSAGE.",
            )
        id = headers.get("subscription")
        if id is None and self._version == "1.1":
            raise Refusal(
                f"{verb} received without a subscription id for acknowledge!",
                "STOMP 1.1: the header subscription repeats that of the MESSAGE.",
            )
        for consumer in self.consumers.values():
            if consumer.id == id and (id is not None or key in consumer.in_flight):
                return consumer, key
        if self._version == "1.0":  # no ids, or one that means nothing: whoever has the message
            for consumer in self.consumers.values():
                if key in consumer.in_flight:
                    return consumer, key
        raise unexpected(verb, key)

    def _begin(self, frame: Frame) -> None:
        name = self._transaction_name(frame.headers, "beginning")
        if name in self._transactions:
            raise Refusal(
                f"The transaction was already started: {name}", "COMMIT or ABORT it first."
            )
        self._transactions[name] = Transaction(self._broker.memory)
        self._say_receipt(frame.headers)

    def _commit(self, frame: Frame) -> None:
        name = self._transaction_name(frame.headers, "committing")
        transaction = self._transaction(frame.headers)
        if transaction.size:  # acknowledgements alone are taken however full the store is
            self._broker.admit(True, transaction.size)  # else it stays open: try again, or ABORT
        del self._transactions[name]
        transaction.commit()
        self._promise_receipt(frame.headers)

    def _abort(self, frame: Frame) -> None:
        name = self._transaction_name(frame.headers, "aborting")
        transaction = self._transaction(frame.headers)
        del self._transactions[name]
        transaction.abort()
        self._say_receipt(frame.headers)

    def _transaction_name(self, headers: dict[str, str], doing: str) -> str:
        name = headers.get("transaction")
        if not name:
            raise Refusal(
                f"Must specify the transaction you are {doing}", "Add a header transaction."
            )
        return name

    def _transaction(self, headers: dict[str, str]) -> Transaction:
        name = headers["transaction"]
        transaction = self._transactions.get(name)
        if transaction is None:
            raise Refusal(
                f"Invalid transaction id: {name}", "BEGIN it on this connection before using it."
            )
        return transaction

    def _disconnect(self, frame: Frame) -> None:
        receipt = frame.headers.get("receipt")
        self._end(b"" if receipt is None else receipt_frame(receipt, self._version))

    def _say_receipt(self, headers: dict[str, str]) -> None:
        """Answer at once: nothing of it goes to disk."""
        receipt = headers.get("receipt")
        if receipt is not None:
            self._outbox.say(receipt_frame(receipt, self._version))

    def _promise_receipt(self, headers: dict[str, str]) -> None:
        """Answer once it is on disk."""
        receipt = headers.get("receipt")
        if receipt is not None:
            self._promise(receipt_frame(receipt, self._version))


Verb = Callable[[Conversation, Frame], None]
ALL_VERBS: dict[str, Verb] = {
    "SEND": Conversation._send,
    "ACK": Conversation._ack,
    "NACK": Conversation._nack,
    "SUBSCRIBE": Conversation._subscribe,
    "UNSUBSCRIBE": Conversation._unsubscribe,
    "BEGIN": Conversation._begin,
    "COMMIT": Conversation._commit,
    "ABORT": Conversation._abort,
    "DISCONNECT": Conversation._disconnect,
}
#: What each command does, by the negotiated version.
VERBS = {
    "1.0": ALL_VERBS | {"NACK": Conversation._nack_in_1_0},
    "1.1": ALL_VERBS,
    "1.2": ALL_VERBS,
}


def number(headers: dict[str, str], name: str, default: int, meaning: str) -> int:
    """Return a header's whole number, or `default` if it is missing. Raises `Refusal`."""
    text = headers.get(name)
    if text is None:
        return default
    digits = text.strip().removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise Refusal(f"Invalid {name}: {text}", f"{name} is {meaning}.")
    return int(text)
