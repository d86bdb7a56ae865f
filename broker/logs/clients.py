"""What the operator hears of one client: that it ended by a fault of its own; at the level debug also that it came and went.

Whose words these are is seen to in `broker.logs.lines`, how many lines there may be in `broker.logs.observer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from broker.connection import ConnectionLog
from broker.errors import StompError
from broker.stomp.frame import COMMANDS, Frame

if TYPE_CHECKING:
    from broker.net.stream import Guest

NOT_SHOWN = "(not shown)"

log = Logger()


class ClientLog(ConnectionLog):
    """Of one connection."""

    __slots__ = ("_certificate", "_guest", "_is_verbose", "_login", "_session")

    def __init__(self, session: str, guest: Guest, is_verbose: Callable[[], bool]) -> None:
        """`session` names the connection; `is_verbose` tells whether the level is debug."""
        self._session = session
        self._guest = guest
        self._is_verbose = is_verbose
        self._login = ""
        self._certificate = ""  # the name in it

    def came(self, login: str) -> None:
        """It was let in."""
        self._login = login
        if self._is_verbose():
            self._certificate = self._guest.certificate_name()
            log.debug("{address} has connected{who}", **self._who())

    def went(self) -> None:
        """It is gone."""
        if self._is_verbose():
            log.debug("{address} has gone{who}", **self._who())

    def failed(self, error: StompError, closes: bool, frame: Frame | None = None) -> None:
        """It was told of a fault of its own, and is hung up on if that `closes` the connection.

        What is no command is not shown: it may be the middle of a body whose end the client has mistaken.
        """
        if not (closes or self._is_verbose()):
            return
        text, headers = error.text, {} if frame is None else frame.headers
        if frame is not None and frame.command not in COMMANDS:
            text, headers = text.replace(frame.command, NOT_SHOWN), {}
        self._login = self._login or headers.get("login", "")
        self._certificate = self._certificate or self._guest.certificate_name()
        more = {"error": text, "destination": headers.get("destination", ""), **self._who()}
        if closes:
            log.warn("hung up on {address}{who}: {error}", **more)
        else:
            log.debug("refused {address}{who}: {error}", **more)

    def _who(self) -> dict[str, str]:
        named = {"login": self._login, "certificate": self._certificate}
        return {
            "connection": self._session,
            "address": self._guest.address,
            **named,
            "who": "".join(f", {kind} {name}" for kind, name in named.items() if name),
        }
