"""Jobs: messages whose senders hear that they were processed, over the program's own broker.

    with Sender() as sender:
        order = sender.send(Peer("site-b"), "one coffee")  # back at once: the local broker has it on disk
        order.wait(timeout=60)                              # PROCESSED

and at the other site::

    for message in Inbox():
        brew(message.text)
        message.processed()

What is promised, and what happens on failures: docs/jobs.md. `rpc.jobs.aio` has the same for asyncio. The rooms,
imports point down only:

- `sender`, `inbox`, `aio`: the faces, for programs with threads or without, and for asyncio;
- `sending`, `asking`: a message before it is sent, and what became of it; `inflow`, `message`: a consumer without a
  socket; `destinations`, `status`: what they speak of. Pure.

A sender is a client of the broker's own remote-call service (`rpc.calling`), an inbox a lifeline (`rpc.lifeline`):
nothing here connects in a way of its own.
"""

from rpc.jobs.destinations import Peer
from rpc.jobs.inbox import Inbox
from rpc.jobs.message import Message, Origin
from rpc.jobs.sender import Sender, SentMessage
from rpc.jobs.sending import SendOptions
from rpc.jobs.status import NotTracked, Part, Progress, Status

__all__ = [
    "Inbox",
    "Message",
    "NotTracked",
    "Origin",
    "Part",
    "Peer",
    "Progress",
    "SendOptions",
    "Sender",
    "SentMessage",
    "Status",
]
