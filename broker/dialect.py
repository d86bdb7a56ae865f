r"""Where brokers contradict each other: what a client may expect, by the dialect of the listener it uses.

    activemq   what clients of ActiveMQ rely on; the default
    rabbitmq   what clients of RabbitMQ's STOMP plugin rely on, where it differs
    strict     what STOMP says, and an ERROR that ends the link for the rest

A dialect is data, and each field is one difference. Nobody asks for a dialect's name to decide what to do.
The table in docs/settings.md is written from the fields below.

What no dialect changes, because both sides can live with one answer: a message to a queue is durable
unless its sender says otherwise; `expires`, `ttl` and `expiration` are all read, and so are
`activemq.prefetchSize` and `prefetch-count`; `ack:client` is cumulative within its subscription; a MESSAGE
always has its content-length; NACK works in a transaction; a silent client is given up after twice the
agreed interval.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from broker import __version__


def difference(default: Any, meaning: str) -> Any:
    """Declare a difference: ActiveMQ's way, and what is said when it is true or named."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a listener's clients expect. The defaults are ActiveMQ's ways."""

    server_header: str = difference(
        f"ActiveMQ/5.18 hoofbeat/{__version__}",
        "`server` in CONNECTED, by whose beginning some clients choose their own dialect",
    )
    error_policy: str = difference(
        "activemq",
        "an ERROR that harms nothing keeps the connection (`activemq`) or closes it (`strict`)",
    )
    undefined_escapes: str = difference(
        "literal",
        r"an undefined escape (`\t`) is taken for itself (`literal`) or refused (`error`)",
    )
    colon_required: bool = difference(
        False, "a header line without a colon is refused; else it is a name without a value"
    )
    unprefixed_error: str = difference(
        "",
        "the ERROR for a destination without a prefix, `{}` is the destination; empty: it is a queue",
    )
    unknown_ack_refused: bool = difference(
        False, "SUBSCRIBE with an unknown value of `ack` is refused; else it means `auto`"
    )
    prefetch_unlimited: bool = difference(
        False, "a subscription that asks for no prefetch has no limit"
    )
    any_subscription: bool = difference(
        False,
        "ACK and NACK of 1.1 find a message by its message-id, whatever `subscription` they name",
    )
    nack_requeues: bool = difference(
        False, "NACK without `requeue` gives the message back; else it is a dead letter"
    )
    nack_cumulative: bool = difference(
        False,
        "NACK with `ack:client` means all messages up to the one it names; else only that one",
    )
    nack_in_1_0: bool = difference(False, "NACK is taken in STOMP 1.0, which has none")
    says_not_redelivered: bool = difference(
        False, "a first delivery says `redelivered:false`; else it says nothing"
    )
    receipts_at_commit: bool = difference(
        False,
        "the RECEIPT of a SEND in a transaction waits for COMMIT; else it comes at once",
    )
    reply_to_subscribes: bool = difference(
        False,
        "SEND with `reply-to:/temp-queue/NAME` subscribes its sender to the replies, and nothing else may"
        " name a temporary queue",
    )
    message_id_refused: bool = difference(
        False, "SEND with a `message-id` is refused; else the header is ignored"
    )


DIALECTS = {
    "activemq": Dialect(),
    "rabbitmq": Dialect(
        server_header=f"RabbitMQ/3.13 hoofbeat/{__version__}",
        undefined_escapes="error",
        colon_required=True,
        unprefixed_error="Unknown destination",
        unknown_ack_refused=True,
        prefetch_unlimited=True,
        any_subscription=True,
        nack_requeues=True,
        nack_cumulative=True,
        nack_in_1_0=True,
        says_not_redelivered=True,
        receipts_at_commit=True,
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
        unknown_ack_refused=True,
        nack_cumulative=True,
    ),
}
