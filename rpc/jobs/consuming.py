"""What all inboxes have in common: their settings, and what becomes of a message of which nothing was said. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from rpc.address import Address
from rpc.jobs.destinations import queue_named
from rpc.jobs.message import Message
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS

log = logging.getLogger("rpc")


class InboxOptions(TypedDict, total=False):
    """How an inbox is read, as keyword arguments."""

    prefetch: int  # messages that the broker may hand out ahead; 1 is fair to other consumers, more is faster
    heart_beat: float  # seconds, 0 for none
    connect_timeout: float  # seconds for one try to connect


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and how an inbox is read. Raises `ValueError` for what makes no sense."""

    address: Address
    destination: str
    prefetch: int = 1
    heart_beat: float = HEART_BEAT_SECONDS
    connect_timeout: float = CONNECT_TIMEOUT

    def __post_init__(self) -> None:
        if self.prefetch < 1:
            raise ValueError(f"prefetch is a number of messages from 1 on, not {self.prefetch}")


def read_settings(address: Address, queue: str, **options: Unpack[InboxOptions]) -> Settings:
    """Return the settings of an inbox. Raises `ValueError` for what makes no sense."""
    return Settings(address, queue_named(queue), **options)


def check_word(message: Message) -> None:
    """Raise `RuntimeError` for a message of which nothing was said: to guess would tell its sender a lie."""
    if message.word is None:
        raise RuntimeError(
            f"Nothing was said of the message {message.id}: say processed(), failed(reason) or later()"
        )


def give_back(message: Message | None) -> None:
    """Keep a message for later of which nothing was said."""
    if message is not None and message.word is None:
        message.later()


def settle(message: Message, done: Any) -> None:
    """Say what `handle` has returned, unless it has said a word itself."""
    if message.word is not None:
        return
    if done is None:
        log.warning("%r is kept for later: True or False was expected, not None", message)
    if done:
        message.processed()
    else:
        message.later()


def note_failure(message: Message) -> None:
    """Log the exception that `handle` has raised."""
    log.exception("%r is kept for later", message)
