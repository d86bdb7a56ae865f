"""What may be wrong with a selector, worded for the client who wrote it."""

from __future__ import annotations

from broker.errors import Refusal

SHOWN = 24  # so many characters of a selector are repeated in an error


class InvalidSelector(Refusal):
    """The text is no selector, or one that this broker does not evaluate; the connection goes on.

    `what` says what is wrong and at which character, counted from 1.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(f"Invalid selector: {what}", hint)


def shown(text: str) -> str:
    """Return a piece of a selector as an error may repeat it: short, in one line, printable."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
