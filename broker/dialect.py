"""Where brokers contradict each other: what a client may expect, by the dialect of the listener it uses.

    activemq   what clients of ActiveMQ rely on; the default
    rabbitmq   what clients of RabbitMQ's STOMP plugin rely on, where it differs
    strict     what STOMP says, and an ERROR that ends the link for the rest

A dialect is data, and each field is one difference; the numbers (D1 …) are those of the comparison of
brokers that this one was designed from. Nobody asks for a dialect's name to decide what to do.

What no dialect changes, because both sides can live with one answer: a message is durable unless its
sender says otherwise (D8); `expires`, `ttl` and `expiration` are all read (D9), and so are
`activemq.prefetchSize` and `prefetch-count`; NACK works in a transaction (D20); a MESSAGE always has its
content-length (D7); a silent client is given up after twice the agreed interval (D21); `ack:client` is
cumulative within its subscription (D13).
"""

from __future__ import annotations

from dataclasses import dataclass

from broker import __version__


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a listener's clients expect. The defaults are ActiveMQ's ways."""

    #: D16: the header `server` of CONNECTED; clients choose their own dialect by its beginning.
    server_header: str = f"ActiveMQ/5.18 hoofbeat/{__version__}"
    #: D1: "activemq" keeps a connection after an ERROR that harms nothing, "strict" always closes it.
    error_policy: str = "activemq"
    #: D3: "literal" takes an undefined escape (`\t`) for itself, "error" refuses the frame.
    undefined_escapes: str = "literal"
    #: D6: a header line without a colon is an error, not a name without a value.
    colon_required: bool = False
    #: D10: NACK without the header `requeue` gives the message back; else it is a dead letter.
    nack_requeues: bool = False
    #: D15: RECEIPTs of SENDs in a transaction are sent at COMMIT; else when they are taken into it.
    receipts_at_commit: bool = False
    #: D19: "" takes a destination without a prefix for a queue; else the ERROR that refuses it, with
    #: the destination in place of `{}`.
    unprefixed_error: str = ""
    #: D22: ACK and NACK of 1.1 find a message by its message-id, whatever `subscription` they name.
    any_subscription: bool = False
    #: D23: NACK is taken in 1.0, which does not have it.
    nack_in_1_0: bool = False
    #: D24: a first delivery says `redelivered:false`; else it says nothing.
    says_not_redelivered: bool = False
    #: D25: with `ack:client` NACK means all messages up to the one it names; else only that one.
    nack_cumulative: bool = False
    #: SUBSCRIBE with a value of `ack` that does not exist is refused; else it means auto.
    unknown_ack_refused: bool = False
    #: A subscription that asks for no prefetch has no limit; else the destination's or the broker's.
    prefetch_unlimited: bool = False
    #: SEND with `reply-to:/temp-queue/NAME` subscribes its sender to the replies, ack:auto, by that id.
    reply_to_subscribes: bool = False
    #: SEND with a header `message-id` is refused; else the header is ignored.
    message_id_refused: bool = False


DIALECTS = {
    "activemq": Dialect(),
    "rabbitmq": Dialect(
        server_header=f"RabbitMQ/3.13 hoofbeat/{__version__}",
        undefined_escapes="error",
        colon_required=True,
        nack_requeues=True,
        receipts_at_commit=True,
        unprefixed_error="Unknown destination",
        any_subscription=True,
        nack_in_1_0=True,
        says_not_redelivered=True,
        nack_cumulative=True,
        unknown_ack_refused=True,
        prefetch_unlimited=True,
        reply_to_subscribes=True,
        message_id_refused=True,
    ),
    "strict": Dialect(
        server_header=f"hoofbeat/{__version__}",
        error_policy="strict",
        undefined_escapes="error",
        colon_required=True,
        unprefixed_error=(
            "Illegal destination name: [{}] -- destinations must begin with one of:"
            " /queue/ /topic/ /temp-queue/ /temp-topic/"
        ),
        nack_cumulative=True,
        unknown_ack_refused=True,
    ),
}
