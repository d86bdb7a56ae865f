"""The STOMP protocol without I/O: bytes in, frames out, for both ends of a link.

`Parser` turns bytes into `Frame`s, `Frame.encode` turns them back, `Session` negotiates and keeps the
heart-beats. The broker and `rpc` stand on the same three names; whoever owns a socket pumps them::

    for frame in parser.feed(received):
        ...
    transport.write(Frame("SEND", {"destination": "/queue/a"}, b"hello").encode("1.2"))

Known versions: 1.0, 1.1 and 1.2 (https://stomp.github.io). This package knows no queues.
"""

from broker.errors import FrameTooLarge, HandshakeError, ProtocolError, StompError
from broker.stomp.frame import VERSIONS, Frame
from broker.stomp.parser import Limits, Parser
from broker.stomp.session import ClientSession, ServerSession, Session

__all__ = [
    "VERSIONS",
    "ClientSession",
    "Frame",
    "FrameTooLarge",
    "HandshakeError",
    "Limits",
    "Parser",
    "ProtocolError",
    "ServerSession",
    "Session",
    "StompError",
]
