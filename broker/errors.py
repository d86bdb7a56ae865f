"""What a client can do wrong: one exception family, translated into an ERROR frame at one door.

Rules of this file:

1. A client's fault is a `StompError`, raised where it is found, below any I/O. `broker.connection`
   is the only place that catches it. Our own faults are never of this family.
2. Every error says whether the link must close. ActiveMQ closes only for framing, handshake and size
   errors and keeps the connection for the rest; existing clients rely on both.
3. The short text is ActiveMQ's where clients match on it; the hint says what would be right.

Nothing here carries credentials, message bodies or stack traces: an ERROR is read by strangers.
"""


class StompError(Exception):
    """A client's fault, worded for the client.

    `text` becomes the ERROR frame's `message` header and the first line of its body; `hint` follows
    it in the body and says what would be right. `fatal` tells whether the link must close.
    """

    fatal = False

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


class ProtocolError(StompError):
    """The bytes or the order of frames make no sense: nothing after them can be trusted."""

    fatal = True


class FrameTooLarge(ProtocolError):
    """A limit was passed while parsing; the rest of the frame is not read."""


class HandshakeError(ProtocolError):
    """CONNECT was refused. `headers` go onto the ERROR frame (the versions we speak, for one)."""

    def __init__(self, text: str, hint: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(text, hint)
        self.headers = headers or {}


class Refusal(StompError):
    """The frame was understood and cannot be obeyed; the connection goes on."""


class NotAuthorized(Refusal):
    """Others may, this client may not."""


class Full(Refusal):
    """There is no room: what is refused now may be taken later."""
