"""`Sender` for programs with threads, or without: messages for other programs, confirmed by the program's own broker."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from time import monotonic
from types import TracebackType
from typing import Any, Self, Unpack

from rpc.blocking.line import Line
from rpc.calling.caller import CALL
from rpc.calling.options import CallOptions
from rpc.errors import RpcError
from rpc.jobs.asking import METHOD, SERVICE, Patience, Question, explained, unasked
from rpc.jobs.destinations import URL, Peer, joined
from rpc.jobs.sending import SEND_TIMEOUT, Outgoing, SendOptions, prepare
from rpc.jobs.status import Progress, Status, read_progress
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS
from rpc.tls import read_address


class Sender:
    """Sends messages. Any number of threads may use one at once.

    It connects at the first message, and again when the connection was lost. A forked process gets a
    connection of its own.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        timeout: float = SEND_TIMEOUT,
        heart_beat: float = HEART_BEAT_SECONDS,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """`url`: of the program's own broker, as of an `rpc.Client`.

        `timeout`: seconds within which the broker must confirm a message; `heart_beat`: seconds, 0 for
        none. Raises `ValueError` for what makes no sense.
        """
        self._options = CallOptions(timeout=timeout, on_loss="resend")
        self._line = Line(
            read_address(url),
            SERVICE,
            durable=False,
            heart_beat=heart_beat,
            connect_timeout=connect_timeout,
        )

    def send(
        self, to: str | Peer, body: bytes | str, **options: Unpack[SendOptions]
    ) -> SentMessage:
        """Send a message; return once the broker has it on disk, whether the receiver can be reached or not.

        `to`: `/queue/orders`, `/peer/site-b/queue/orders`, or a `Peer`. If the connection breaks, the
        message is sent over the next one, and still comes once. Raises `ConnectionLost` if there is no
        broker, `BrokerRefused` in its words if it does not take the message, `Timeout` if it has not
        confirmed it in time: then it may have it, and to send again with the same `id` is safe.
        """
        return self._send(prepare(str(to), body, **options))

    def multicast(
        self, to: Iterable[str | Peer], body: bytes | str, **options: Unpack[SendOptions]
    ) -> SentMessage:
        """Send a message to several destinations at once: to all of them, or to none. As `send`.

        It is PROCESSED when all have processed it; `progress()` tells which have not.
        """
        return self._send(prepare(joined(to), body, **options))

    def message(self, id: str) -> SentMessage:
        """Return a message that was sent before, perhaps by another process: it is known by its id."""
        return SentMessage(self, id)

    def close(self) -> None:
        """Disconnect. Messages being sent by other threads, and later ones, end with `ConnectionLost`."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, message: Outgoing) -> SentMessage:
        line = self._line
        line.finish(line.begin(message.destination, message.body, self._options, message.kind))
        return SentMessage(self, message.id, feedback=message.feedback)

    def ask(self, question: Question) -> dict[str, Any]:
        """Ask the broker what became of a message, for `SentMessage`."""
        line = self._line
        told: dict[str, Any] = line.finish(
            line.begin(METHOD, question.params, question.options, CALL)
        )
        return told


class SentMessage:
    """A message that the broker has. `id` is what it is known by, here, in other processes and to its receiver."""

    def __init__(self, sender: Sender, id: str, *, feedback: bool = True) -> None:
        self.id = id
        self._sender = sender
        self._feedback = feedback

    @property
    def status(self) -> Status:
        """How far it has come: asks the broker, each time. Raises as `progress`."""
        return self.progress().status

    def progress(self) -> Progress:
        """Ask the broker how far it has come, at which destination, and why it failed.

        Raises `NotTracked` if nothing is known of it, `ConnectionLost` and `Timeout` if nobody can be asked.
        """
        self._check()
        try:
            return read_progress(self._sender.ask(Question(self.id)))
        except RpcError as error:
            raise explained(error, self.id) from error

    def wait(self, timeout: float | None = None) -> Status:
        """Wait for its end, PROCESSED, FAILED or EXPIRED, and return it; FAILED as soon as one destination has.

        `timeout`: seconds, after which `Timeout` is raised; None waits for ever. The broker may be restarted
        meanwhile. Raises `NotTracked` if nothing is known of it, `BrokerRefused` if it may not be asked.
        """
        self._check()
        patience = Patience(self.id, timeout, monotonic())
        while True:
            question = patience.ask(monotonic())
            try:
                ended = patience.take(self._sender.ask(question))
            except RpcError as error:
                chance = random.random()  # noqa: S311  # no secret
                time.sleep(patience.rest(error, monotonic(), chance))
            else:
                if ended is not None:
                    return ended.status

    def _check(self) -> None:
        if not self._feedback:
            raise unasked(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"
