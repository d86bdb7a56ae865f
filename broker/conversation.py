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

SEND is in `broker.sending`, SUBSCRIBE and UNSUBSCRIBE are in `broker.subscribing`. Knows no bytes and no
links. A verb checks everything before it changes anything, so that a refused frame leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.answers import receipt_frame
from broker.client import Client, check_id, flag, number
from broker.core.event import Event
from broker.core.handout import Handout, Unfinished
from broker.core.subscription import Subscription, unexpected
from broker.core.transaction import STEP, Transaction
from broker.errors import Refusal
from broker.sending import Sending
from broker.stomp.frame import Frame
from broker.subscribing import Subscriptions
from broker.talk import Verb

REASON = 500  # characters of what a consumer says about a message that it refuses


class Conversation:
    """What one client says after CONNECT."""

    def __init__(self, client: Client, id_prefix: bytes, end: Callable[[bytes], None]) -> None:
        """`end` says the last word once everything done so far is durable.

        `id_prefix` begins the ids of messages that arrive here; no two stores or runs share one.
        """
        self._client = client
        self._broker = client.broker
        self._subscriptions = Subscriptions(client)
        self._sending = Sending(client, id_prefix, self._subscriptions.subscribe_to_replies)
        self._consumers = self._subscriptions.consumers
        self._end = end
        self._by_id = client.version == "1.2"  # how ACK and NACK name a message
        #: What each command does. A circle, which `leave` breaks.
        self.verbs: dict[str, Verb] = {
            "SEND": self._sending.send,
            "ACK": self._ack,
            "NACK": self._nack,
            "SUBSCRIBE": self._subscriptions.subscribe,
            "UNSUBSCRIBE": self._subscriptions.unsubscribe,
            "BEGIN": self._begin,
            "COMMIT": self._commit,
            "ABORT": self._abort,
            "DISCONNECT": self._disconnect,
        }
        if client.version == "1.0" and not client.dialect.nack_in_1_0:
            self.verbs["NACK"] = refuse_nack_in_1_0
        if client.client_id:
            self._broker.client_ids.add(client.client_id)
        self._broker.tell(Event("Connection", client))

    def pause(self, paused: bool) -> None:
        """Hand over no more messages, or go on."""
        self._subscriptions.pause(paused)

    def leave(self, died: bool) -> None:
        """The client is gone or going: what it held is free at once. `died`: it did not say goodbye."""
        if not self.verbs:
            return
        self.verbs = {}
        client = self._client
        consumers = self._subscriptions.stop()
        transactions, client.transactions = list(client.transactions.values()), {}
        for transaction in transactions:
            transaction.abort()
        for consumer in consumers:
            consumer.subscription.close(died)
        client.leave()
        self._broker.client_ids.discard(client.client_id)
        self._broker.tell(Event("Connection", client, gone=True))

    def _ack(self, frame: Frame) -> None:
        template = frame.template
        if template is not None and template.only == "id" and self._by_id:
            key = frame.values[0].decode()
            self._having(key, "ACK").ack(key)
            return
        headers = frame.headers
        subscription, key = self._acknowledged(headers, "ACK")
        if "transaction" in headers:
            self._client.transaction(headers).ack(subscription, key)
            self._client.say_receipt(headers)
        else:
            subscription.ack(key)
            if "receipt" in headers:
                self._client.promise_receipt(headers)

    def _nack(self, frame: Frame) -> None:
        headers, client = frame.headers, self._client
        subscription, key = self._acknowledged(headers, "NACK")
        requeue = flag(headers, "requeue")
        delay = max(0, number(headers, "delay", 0, "milliseconds until it comes again"))
        if "requeue" not in headers:
            requeue = delay > 0 or client.dialect.nack_requeues
        cumulative = client.dialect.nack_cumulative and subscription.cumulative
        reason = headers.get("reason", "")[:REASON]
        if "transaction" in headers:
            client.transaction(headers).nack(subscription, key, requeue, delay, cumulative, reason)
            client.say_receipt(headers)
        else:
            subscription.nack(key, requeue, delay, cumulative, reason)
            client.promise_receipt(headers)

    def _acknowledged(self, headers: dict[str, str], verb: str) -> tuple[Subscription, str]:
        """Return the subscription that an ACK or NACK is about, and the key of the message."""
        if not self._by_id:
            return self._by_message_id(headers, verb)
        key = headers.get("id")
        if key is None:
            raise Refusal(
                "ACK received without a ack id for acknowledge!"
                if verb == "ACK"
                else "NACK received without an ack header to acknowledge!",
                "STOMP 1.2: the header id repeats the header ack of the MESSAGE.",
            )
        return self._having(key, verb), key

    def _having(self, key: str, verb: str) -> Subscription:
        """Return the subscription that handed over what is acknowledged by this key."""
        consumer = self._consumers.get(key.partition("-")[0])
        if consumer is None:
            raise unexpected(verb, key)
        return consumer.subscription

    def _by_message_id(self, headers: dict[str, str], verb: str) -> tuple[Subscription, str]:
        """The same for 1.0 and 1.1."""
        key = headers.get("message-id")
        if key is None:
            raise Refusal(
                f"{verb} received without a message-id to acknowledge!",
                "The header message-id repeats that of the MESSAGE.",
            )
        version, lenient = self._client.version, self._client.dialect.any_subscription
        id = headers.get("subscription")
        if id is None and version == "1.1" and not lenient:
            raise Refusal(
                f"{verb} received without a subscription id for acknowledge!",
                "STOMP 1.1: the header subscription repeats that of the MESSAGE.",
            )
        for consumer in self._consumers.values():
            subscription = consumer.subscription
            if consumer.id == id and (
                (id is not None and not lenient) or key in subscription.in_flight
            ):
                return subscription, key
        if version == "1.0" or lenient:  # no id, or one that means nothing: whoever has the message
            for consumer in self._consumers.values():
                if key in consumer.subscription.in_flight:
                    return consumer.subscription, key
        raise unexpected(verb, key)

    def _begin(self, frame: Frame) -> None:
        client = self._client
        name = transaction_name(frame.headers, "beginning")
        if name in client.transactions:
            raise Refusal(
                f"The transaction was already started: {name}", "COMMIT or ABORT it first."
            )
        check_id(name, "transaction")
        options = client.options
        if len(client.transactions) >= options.max_transactions:
            raise Refusal(
                f"Too many transactions: a connection has {options.max_transactions} at most",
                "COMMIT or ABORT one of them first.",
            )
        self._broker.admit(False, STEP)
        client.transactions[name] = Transaction(
            self._broker.memory, options.max_transaction_frames, options.max_transaction_bytes
        )
        client.say_receipt(frame.headers)

    def _commit(self, frame: Frame) -> None:
        client = self._client
        name = transaction_name(frame.headers, "committing")
        transaction = client.transaction(frame.headers)
        transaction.check()  # else it stays open: try again, or ABORT
        if transaction.size:  # acknowledgements alone are taken however full the store is
            self._broker.admit(True, transaction.size)
        del client.transactions[name]
        if self._broker.handout is None:
            self._hand_out(transaction.commit, frame)
        else:  # the client has hung up: behind what it has sent before
            transaction.commit()
            client.promise_receipt(frame.headers)

    def _hand_out(self, commit: Callable[[], None], frame: Frame) -> None:
        """Commit, and wait until subscribers have theirs. Raises `Unfinished` if that takes its time."""
        handout = Handout(self._broker)
        try:
            with handout:
                commit()
        finally:
            is_over = handout.begin()
        self._client.promise_receipt(frame.headers)
        if not is_over:
            raise Unfinished(handout)

    def _abort(self, frame: Frame) -> None:
        client = self._client
        name = transaction_name(frame.headers, "aborting")
        transaction = client.transaction(frame.headers)
        del client.transactions[name]
        transaction.abort()
        client.say_receipt(frame.headers)

    def _disconnect(self, frame: Frame) -> None:
        receipt = frame.headers.get("receipt")
        self._end(b"" if receipt is None else receipt_frame(receipt, self._client.version))


def refuse_nack_in_1_0(frame: Frame) -> None:
    """NACK is of a later version."""
    raise Refusal(
        "NACK received but connection is in v1.0 mode.",
        "NACK came with STOMP 1.1: connect with accept-version:1.1,1.2.",
    )


def transaction_name(headers: dict[str, str], doing: str) -> str:
    """Return the transaction that a frame names. Raises `Refusal`."""
    name = headers.get("transaction")
    if not name:
        raise Refusal(f"Must specify the transaction you are {doing}", "Add a header transaction.")
    return name
