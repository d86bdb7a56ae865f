"""Who may be at the other end of a link, once CONNECT was answered: a client, or another broker.

What a client says is in `broker.conversation`, what another broker says in `broker.peering`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from broker.client import Client
from broker.errors import StompError
from broker.stomp.frame import Frame

Verb = Callable[[Frame], None]


class Talk(Protocol):
    """What one client says after CONNECT: `Conversation`, or what another broker says."""

    verbs: dict[str, Verb]

    def pause(self, paused: bool) -> None:
        """Hand over no more messages, or go on."""

    def leave(self, died: bool) -> None:
        """The client is gone or going."""


class Visitors(Protocol):
    """Who knows other brokers; see `broker.peering.peers`."""

    def meet(self, headers: Mapping[str, str], version: str) -> dict[str, str]:
        """Check a CONNECT; return what CONNECTED is to tell. Raises `HandshakeError`."""

    def talk(
        self,
        headers: Mapping[str, str],
        client: Client,
        id_prefix: bytes,
        end: Callable[[bytes], None],
        dismiss: Callable[[StompError], None],
    ) -> Talk:
        """Return what the broker says that was met."""
