r"""One client's conversation: frames become the core's verbs, messages become bytes.

The protocol above the code, as this broker speaks it (STOMP 1.0, 1.1, 1.2):

    client                          broker
    CONNECT / STOMP             →   CONNECTED, or ERROR and the link closes
    SEND                        →   RECEIPT once the message is on disk or consumed
    SUBSCRIBE                   →   RECEIPT, then MESSAGE after MESSAGE as long as there is credit
    ACK, NACK                   →   RECEIPT once the store knows it
    BEGIN … COMMIT / ABORT      →   all of it in one batch, or nothing
    UNSUBSCRIBE                 →   RECEIPT, and no MESSAGE after it; what was not acknowledged goes back
    DISCONNECT                  →   RECEIPT as the last frame, and the link closes
    anything wrong              →   ERROR; the link closes if what follows could not be trusted

A MESSAGE is a head for the subscription (and the acknowledgement), then the message's tail, see
`broker.tail`::

    MESSAGE\nsubscription:…\ndestination:…\n [ack:…\n] [redelivered:true\n] tail

This is the one door for a client's faults: `StompError` is caught here and becomes an ERROR frame. Our own
faults are not caught here. No Twisted, no socket, no clock: see `Transport` and `Turn.now`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Protocol

from broker.agenda import Agenda
from broker.answers import error_frame, receipt_frame
from broker.core.broker import Broker
from broker.core.message import BULKY, DEFAULT_PRIORITY, Message
from broker.core.queue import Queue
from broker.core.subscription import (
    AUTO,
    CLIENT,
    CLIENT_INDIVIDUAL,
    Deliver,
    Subscription,
    unexpected,
)
from broker.core.topic import Topic, TopicQueue
from broker.core.transaction import Transaction
from broker.errors import Refusal, StompError
from broker.options import Options
from broker.stomp.frame import Frame, header_lines
from broker.stomp.parser import Limits, Parser
from broker.stomp.session import ServerSession, illegal
from broker.tail import END, ID, TAIL_VERSION, message_id, middle, rewrite
from broker.turn import Turn

#: Headers of a SEND that take it off the common way.
UNCOMMON = frozenset(("expiration", "expires", "priority", "transaction", "ttl"))
#: Headers of a SUBSCRIBE that would be wrong to ignore, and the values with which they ask for nothing.
UNSUPPORTED = {
    "selector": ("",),
    "browser": ("false",),
    "activemq.subscriptionName": (),
    "activemq.subcriptionName": (),
    "durable": ("false",),
}

UNLIMITED = 2**31


#: A SEND's headers, understood: where it goes, the tail between message-id and body, is it stored.
Meaning = tuple[Callable[[Message], object], bytes, bool]


class Transport(Protocol):
    """What a connection needs of a socket."""

    def write(self, data: bytes) -> None:
        """Send; tell the connection's `unsent` what could not leave at once, and when it did."""

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""

    def resume_reading(self) -> None:
        """Go on."""

    def close(self) -> None:
        """Send what was written, then hang up."""

    def abort(self) -> None:
        """Hang up now."""


class Consumer(Subscription):
    """A subscription as its connection knows it."""

    __slots__ = ("destination", "id", "number")

    def __init__(
        self, queue: Queue, mode: str, prefetch: int, id: str | None, destination: str, number: str
    ) -> None:
        super().__init__(queue, mode, prefetch, _not_yet)
        self.id = id
        self.destination = destination
        self.number = number  # unique on the connection, also after it ended


def _not_yet(message: Message) -> str:
    raise AssertionError("a consumer is fed before it can deliver")


class Connection:
    """A client of the broker, from its first byte to its last."""

    def __init__(
        self,
        broker: Broker,
        turn: Turn,
        options: Options,
        id_prefix: bytes,
        session_id: str,
        agenda: Agenda,
        transport: Transport,
    ) -> None:
        """`id_prefix` begins the ids of messages that arrive here; no two stores or runs share one."""
        self.transport = transport
        self.closing = False  # says no more, hears no more
        self.session = ServerSession(options.heart_beat_least)
        self.session.heard = self.session.spoke = turn.now
        self._broker = broker
        self._turn = turn
        self._options = options
        self._agenda = agenda
        self._id_start = ID + id_prefix
        self._session_id = session_id
        self._parser = Parser(
            Limits(
                options.max_command,
                options.max_connect_frame,
                options.max_headers,
                options.max_connect_frame,
                options.max_connect_frame,
            ),
            strict=options.undefined_escapes == "error",
        )
        self._blocked = False  # too much of what we wrote is unread: no more messages
        self._stalled = False  # far too much: nothing is read either
        self._pauses = 0  # reasons not to read from the client just now
        self._version = "1.0"  # of what we write
        self._verbs: dict[str, Callable[[Connection, Frame], None]] = {}  # none before CONNECT
        self._out: list[bytes] = []
        self._bulky = False  # something in there is large
        self._consumers: dict[str, Consumer] = {}  # by number, hence in the order of SUBSCRIBE
        self._numbers = count(1)
        self._transactions: dict[str, Transaction] = {}
        self._acknowledged = self._by_message_id  # what an ACK or NACK is about
        # The last SEND's headers and what they meant: a producer mostly repeats itself, and the parser
        # hands out the same dict for the same bytes.
        self._sent: dict[str, str] | None = None
        self._meaning: Meaning = (_not_yet, b"", False)
        self._changes = 0
        agenda.add(turn.now + options.connect_timeout, self._check_connected)

    # What the transport tells us and asks.

    @property
    def unfinished(self) -> bool:
        """True while a frame has begun and not ended: its client may be waiting for TCP to confirm."""
        return self._parser.unfinished

    def data(self, data: bytes) -> None:
        """Bytes from the client."""
        self.session.heard = self._turn.now
        parser = self._parser
        frames = parser.feed(data)
        while frames:
            negotiating = not self._verbs
            for frame in frames:
                try:
                    verb = self._verbs.get(frame.command)
                    if verb is None:
                        self._connect_or_refuse(frame)
                    else:
                        verb(self, frame)
                except StompError as error:
                    self._error(error, frame)
                if self.closing:
                    return
            # The handshake stops the parser, because it decides how the rest reads.
            frames = parser.feed(b"") if negotiating else []
        if parser.error is not None and not self.closing:
            self._error(parser.error)
        self._turn.check_pressure(self)

    def end_of_input(self) -> None:
        """The client will send no more: finish what it asked for, then hang up."""
        if not self.closing:
            self._leave()
            self._turn.promise(self, b"", last=True)

    def lost(self) -> None:
        """The link is gone."""
        self._leave()

    def unsent(self, size: int) -> None:
        """So many bytes of what we wrote has the client not taken yet.

        At `unsent_bytes` it is handed no more messages; at `stalled_bytes`, which only a client reaches
        that asks without reading the answers, it is not read from either.
        """
        blocked = size > self._options.unsent_bytes
        if blocked != self._blocked:
            self._blocked = blocked
            for consumer in list(self._consumers.values()):
                if blocked:
                    consumer.pause()
                else:
                    consumer.resume()
        stalled = size > self._options.stalled_bytes
        if stalled != self._stalled:
            self._stalled = stalled
            if stalled:
                self.pause_reading()
            else:
                self.resume_reading()

    def pause_reading(self) -> None:
        """Take nothing from the client for now. Several may ask; all must `resume_reading`."""
        self._pauses += 1
        if self._pauses == 1:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """One of those who paused goes on."""
        self._pauses -= 1
        if not self._pauses:
            self.session.heard = self._turn.now
            self.transport.resume_reading()

    def check(self, now: float) -> float | None:
        """Send a heart-beat if one is due, give up a dead client; return when to look again."""
        session = self.session
        if self.closing:
            return None
        if self._pauses:  # what we do not read cannot be missed
            session.heard = now
        if session.is_dead(now):
            self._leave()
            self.transport.abort()
            return None
        if session.owes_heart_beat(now):
            session.spoke = now
            self.transport.write(b"\n")
        return session.next_check()

    def _check_connected(self, now: float) -> None:
        """The time for CONNECT is over."""
        if not self._verbs and not self.closing:
            self._leave()
            self.transport.abort()

    # What the turn asks for.

    def say(self, data: bytes) -> None:
        """Add to what leaves at the end of the turn."""
        if not self._out:
            self._turn.dirty.append(self)
        self._out.append(data)

    def flush(self) -> None:
        """Write everything that was said."""
        out = self._out
        if out:
            self.session.spoke = self._turn.now
            if self._bulky:  # some tail is so large that it should not be copied once more
                self._bulky = False
                for piece in out:
                    self.transport.write(piece)
                out.clear()
                return
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.transport.write(data)

    def close(self) -> None:
        """Say what is left, then hang up."""
        self._leave()
        self.flush()
        self.transport.close()

    # Verbs.

    def _connect_or_refuse(self, frame: Frame) -> None:
        if self._verbs:
            raise illegal(frame.command)
        options = self._options
        agreed = self.session.accept(frame)
        self._version = agreed["version"]
        headers = {
            "version": agreed["version"],
            "session": self._session_id,
            "server": options.server_header,
            "heart-beat": agreed["heart-beat"],
        }
        if "request-id" in frame.headers:
            headers["response-id"] = frame.headers["request-id"]
        if "receipt" in frame.headers:  # CONNECT has no RECEIPT of its own; ActiveMQ echoes it here
            headers["receipt-id"] = frame.headers["receipt"]
            headers.setdefault("response-id", frame.headers["receipt"])
        if (check := self.session.next_check()) is not None:
            self._agenda.add(check, self.check)
        self.say(Frame("CONNECTED", headers).encode(self._version))
        self._verbs = VERBS[self._version]
        if self._version == "1.2":
            self._acknowledged = self._by_ack_id
        self._parser.version = self._version
        self._parser.limits = Limits(
            options.max_command,
            options.max_header_line,
            options.max_headers,
            options.max_header_block,
            options.max_body,
        )

    def _send(self, frame: Frame) -> None:
        headers = frame.headers
        broker = self._broker
        if headers is not self._sent or self._changes != broker.routes.changes:
            if not UNCOMMON.isdisjoint(headers):
                self._send_uncommon(frame)
                return
            self._meaning = self._read_send(frame)
            self._changes = broker.routes.changes
            # Without a content-length equal headers may have bodies of other lengths.
            self._sent = headers if "content-length" in headers else None
        put, lines, durable = self._meaning
        body = frame.body
        if (broker.journal if durable else broker.memory).room < len(body) + len(lines):
            broker.admit(durable, len(body) + len(lines))
        seq = broker.next_seq
        broker.next_seq = seq + 1
        tail = b"".join((self._id_start, b"%d\n" % seq, lines, body, END))
        put(Message(seq, tail, durable, frame.plain))
        if "receipt" in headers:
            if durable:
                self._promise_receipt(headers)
            else:
                self._say_receipt(headers)

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
            if lifetime > 0 and not expires:
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
            self._transaction(headers).send(
                lambda: send(find(destination).put), len(body) + len(lines) if durable else 0
            )
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
        if id is not None and any(consumer.id == id for consumer in self._consumers.values()):
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
        consumer = Consumer(queue, mode, prefetch, id, destination, str(next(self._numbers)))
        consumer.deliver = self._deliver(consumer)
        consumer.paused = self._blocked
        self._consumers[consumer.number] = consumer
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
        for consumer in self._consumers.values():
            if consumer.id == id if id is not None else consumer.destination == destination:
                del self._consumers[consumer.number]
                consumer.close()
                self._say_receipt(headers)
                return
        raise Refusal(
            "No subscription matched.", f"This connection has no subscription {id or destination}."
        )

    def _ack(self, frame: Frame) -> None:
        headers = frame.headers
        consumer, key = self._acknowledged(headers, "ACK")
        if "transaction" in headers:
            self._transaction(headers).ack(consumer, key)
            self._say_receipt(headers)
        else:
            consumer.ack(key)
            if "receipt" in headers:
                self._promise_receipt(headers)

    def _nack(self, frame: Frame) -> None:
        headers = frame.headers
        consumer, key = self._acknowledged(headers, "NACK")
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
        consumer = self._consumers.get(key.partition("-")[0])
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
        for consumer in self._consumers.values():
            if consumer.id == id and (id is not None or key in consumer.in_flight):
                return consumer, key
        if self._version == "1.0":  # no ids, or one that means nothing: whoever has the message
            for consumer in self._consumers.values():
                if key in consumer.in_flight:
                    return consumer, key
        raise unexpected(verb, key)

    def _begin(self, frame: Frame) -> None:
        name = self._transaction_name(frame.headers, "beginning")
        if name in self._transactions:
            raise Refusal(
                f"The transaction was already started: {name}", "COMMIT or ABORT it first."
            )
        self._transactions[name] = Transaction()
        self._say_receipt(frame.headers)

    def _commit(self, frame: Frame) -> None:
        name = self._transaction_name(frame.headers, "committing")
        transaction = self._transaction(frame.headers)
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
        self._leave()
        receipt = frame.headers.get("receipt")
        last_word = b"" if receipt is None else receipt_frame(receipt, self._version)
        self._turn.promise(self, last_word, last=True)

    # How messages and answers are written.

    def _deliver(self, consumer: Consumer) -> Deliver:
        """Return the function that writes this consumer's messages, made for its mode and version."""
        out, turn = self._out, self._turn
        version = self._version
        pairs = [("destination", consumer.destination)]
        if consumer.id is not None:
            pairs.insert(0, ("subscription", consumer.id))
        head = b"MESSAGE\n" + header_lines(pairs, version)

        def special(message: Message) -> bytes:
            tail = message.tail
            if len(tail) >= BULKY:
                self._bulky = True
            if not message.plain and version != TAIL_VERSION:
                tail = rewrite(tail, version)
            if message.redelivered:
                out.append(b"redelivered:true\n")
            return tail

        def auto(message: Message) -> str:
            if not out:
                turn.dirty.append(self)
            out.append(head)
            out.append(special(message) if message.special else message.tail)
            return ""

        def by_message_id(message: Message) -> str:
            auto(message)
            return message_id(message.tail)

        head_to_ack = head + b"ack:"
        prefix = f"{consumer.number}-"
        numbers = count(1).__next__

        def by_ack_id(message: Message) -> str:
            key = f"{prefix}{numbers()}"
            if not out:
                turn.dirty.append(self)
            out.extend((head_to_ack, key.encode(), b"\n"))
            out.append(special(message) if message.special else message.tail)
            return key

        if consumer.auto:
            return auto
        return by_ack_id if version == "1.2" else by_message_id

    def _say_receipt(self, headers: dict[str, str]) -> None:
        """Answer at once: nothing of it goes to disk."""
        receipt = headers.get("receipt")
        if receipt is not None:
            self.say(receipt_frame(receipt, self._version))

    def _promise_receipt(self, headers: dict[str, str]) -> None:
        """Answer once it is on disk."""
        receipt = headers.get("receipt")
        if receipt is not None:
            self._turn.promise(self, receipt_frame(receipt, self._version))

    def _error(self, error: StompError, frame: Frame | None = None) -> None:
        """Answer a fault with an ERROR frame; close if what follows cannot be trusted."""
        receipt = None if frame is None else frame.headers.get("receipt")
        data = error_frame(error, receipt, self._version)
        if error.fatal or self._options.error_policy == "strict":
            self._leave()
            self._turn.promise(self, data, last=True)
        else:
            self.say(data)

    def _leave(self) -> None:
        """The client is gone or going: what it held is free at once, before it hears the last word."""
        self.closing = True
        self._parser.forget()
        consumers, self._consumers = list(self._consumers.values()), {}
        transactions, self._transactions = list(self._transactions.values()), {}
        for consumer in consumers:
            consumer.stop()
        for transaction in transactions:
            transaction.abort()
        for consumer in consumers:
            consumer.close()


Verb = Callable[[Connection, Frame], None]
ALL_VERBS: dict[str, Verb] = {
    "SEND": Connection._send,
    "ACK": Connection._ack,
    "NACK": Connection._nack,
    "SUBSCRIBE": Connection._subscribe,
    "UNSUBSCRIBE": Connection._unsubscribe,
    "BEGIN": Connection._begin,
    "COMMIT": Connection._commit,
    "ABORT": Connection._abort,
    "DISCONNECT": Connection._disconnect,
}
#: What each command does, by the negotiated version.
VERBS = {
    "1.0": ALL_VERBS | {"NACK": Connection._nack_in_1_0},
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
