"""How the broker's own methods refuse, each as an error with a code of JSON-RPC."""

from __future__ import annotations

from typing import Any

from broker.errors import StompError
from rpc.errors import ErrorReply, InvalidParams

REFUSED = -32004  # understood, and cannot be done as things are


class Refused(ErrorReply):
    """It cannot be done as things are: a queue that is to be deleted has messages, the store is full."""

    code = REFUSED


def wrong(argument: str, text: str) -> InvalidParams:
    """Return the fault of an argument whose value makes no sense, or names nothing that is there."""
    return InvalidParams(f"{argument}: {text}", {"argument": argument})


def in_words(error: StompError) -> str:
    """Return what a fault says, with its hint."""
    return f"{error.text.rstrip('.')}. {error.hint}" if error.hint else error.text


def refused(error: StompError, **data: Any) -> Refused:
    """Return a fault of the core's as an error."""
    return Refused(in_words(error), data or None)
