"""The table of differences, said a second time in other words: what each dialect decides."""

from __future__ import annotations

import dataclasses

import pytest

from broker import __version__
from broker.dialect import DIALECTS, Dialect

#: Field → what it is in activemq, rabbitmq, strict.
TABLE: dict[str, tuple[object, object, object]] = {
    "error_policy": ("activemq", "activemq", "strict"),
    "undefined_escapes": ("literal", "error", "error"),
    "colon_required": (False, True, True),
    "unknown_ack_refused": (False, True, True),
    "prefetch_unlimited": (False, True, False),
    "any_subscription": (False, True, False),
    "nack_requeues": (False, True, False),
    "nack_cumulative": (False, True, True),
    "nack_in_1_0": (False, True, False),
    "says_not_redelivered": (False, True, False),
    "receipts_at_commit": (False, True, False),
    "reply_to_subscribes": (False, True, False),
    "message_id_refused": (False, True, False),
}
TEXTS = ("server_header", "unprefixed_error")


@pytest.mark.parametrize("name", TABLE)
def test_what_a_dialect_decides(name: str) -> None:
    assert tuple(getattr(dialect, name) for dialect in DIALECTS.values()) == TABLE[name]


def test_every_difference_is_in_the_table() -> None:
    assert {each.name for each in dataclasses.fields(Dialect)} == {*TABLE, *TEXTS}
    assert list(DIALECTS) == ["activemq", "rabbitmq", "strict"]


def test_clients_tell_the_dialect_by_the_beginning_of_the_server_header() -> None:
    """stomp-php, for one, looks for `ActiveMQ/` and `RabbitMQ/`; each says who we are."""
    headers = [dialect.server_header for dialect in DIALECTS.values()]
    for header, beginning in zip(headers, ("ActiveMQ/", "RabbitMQ/", "hoofbeat/"), strict=True):
        assert header.startswith(beginning)
        assert header.endswith(f"hoofbeat/{__version__}")


def test_a_destination_without_a_prefix() -> None:
    activemq, rabbitmq, strict = (dialect.unprefixed_error for dialect in DIALECTS.values())
    assert activemq == ""
    assert rabbitmq.format("foo") == "Unknown destination"
    assert strict.format("foo").startswith("Illegal destination name: [foo] -- ")


@pytest.mark.parametrize("each", dataclasses.fields(Dialect), ids=lambda each: each.name)
def test_every_difference_says_what_it_means(each: dataclasses.Field[object]) -> None:
    assert each.metadata["meaning"]
    assert "|" not in each.metadata["meaning"], "it stands in a table"
