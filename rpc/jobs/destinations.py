"""Where a message goes: a destination as STOMP has it, or a peer. Knows names, and not who stands behind them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

INBOX = "inbox"  # the queue of a broker that is meant where none is named
URL = "stomp://127.0.0.1:61613"  # the program's own broker: every node has one


@dataclass(frozen=True, slots=True)
class Peer:
    """Another broker, by the name that the settings of ours give it (`[peer.NAME]`); as a destination, its inbox.

    Raises `ValueError` for a name that no peer can have.
    """

    name: str

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or "," in self.name:
            raise ValueError(f"A peer has a name like site-b, not {self.name!r}")

    def queue(self, name: str) -> str:
        """Return a queue there as a destination."""
        return f"/peer/{self.name}{queue_named(name)}"

    def __str__(self) -> str:
        """Return its inbox as a destination."""
        return self.queue(INBOX)


def queue_named(name: str) -> str:
    """Return the destination of a queue: `orders` is `/queue/orders`, and what begins so is one already."""
    return name if name.startswith("/queue/") else f"/queue/{name}"


def joined(destinations: Iterable[str | Peer]) -> str:
    """Return several destinations as one, for one SEND. Raises `ValueError` if there are none."""
    if isinstance(destinations, str | Peer):
        raise TypeError("Several destinations are a list; for one there is send()")
    text = ",".join(map(str, destinations))
    if not text:
        raise ValueError("A message needs a destination: /queue/orders, or Peer('site-b')")
    return text
