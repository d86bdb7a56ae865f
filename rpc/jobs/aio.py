"""Jobs for asyncio: the names of `rpc.jobs`, to be awaited.

async with rpc.jobs.aio.Sender() as sender:
    order = await sender.send(Peer("site-b"), "one coffee")
    await order.wait(timeout=60)

async for message in rpc.jobs.aio.Inbox():
    message.processed()
"""

from __future__ import annotations

import asyncio
import inspect
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, nullcontext
from functools import cache
from time import monotonic
from types import TracebackType
from typing import Any, Self, Unpack

from rpc.aio.client import Line
from rpc.aio.host import LoopHost
from rpc.aio.signals import stopped_by_signals
from rpc.calling.caller import CALL, Caller
from rpc.calling.options import CallOptions
from rpc.errors import RpcError
from rpc.jobs.asking import METHOD, SERVICE, Patience, Question, explained, unasked
from rpc.jobs.consuming import (
    InboxOptions,
    Settings,
    check_word,
    give_back,
    note_failure,
    read_settings,
    settle,
)
from rpc.jobs.destinations import INBOX, URL, Peer, joined
from rpc.jobs.inflow import Inflow
from rpc.jobs.message import Message, Word
from rpc.jobs.sending import SEND_TIMEOUT, Outgoing, SendOptions, prepare
from rpc.jobs.status import Progress, Status, read_progress
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS
from rpc.tls import read_address

__all__ = ["Inbox", "Sender", "SentMessage"]


class Sender:
    """Sends messages. Any number of tasks may use one at once; it belongs to the loop that uses it first."""

    def __init__(
        self,
        url: str = URL,
        *,
        timeout: float = SEND_TIMEOUT,
        heart_beat: float = HEART_BEAT_SECONDS,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """As `rpc.jobs.Sender`."""
        self._options = CallOptions(timeout=timeout, on_loss="resend")
        address = read_address(url)
        caller = Caller(SERVICE, uuid.uuid4().hex, durable=False)
        # Made at the first use, for then there is a loop.
        self._line: Callable[[], Line] = cache(
            lambda: Line(address, caller, heart_beat, connect_timeout)
        )

    async def send(
        self, to: str | Peer, body: bytes | str, **options: Unpack[SendOptions]
    ) -> SentMessage:
        """Send a message; return once the broker has it on disk. As `rpc.jobs.Sender.send`.

        Cancelled, it does not wait for that: the broker may have it.
        """
        return await self._send(prepare(str(to), body, **options))

    async def multicast(
        self, to: Iterable[str | Peer], body: bytes | str, **options: Unpack[SendOptions]
    ) -> SentMessage:
        """Send a message to several destinations at once. As `rpc.jobs.Sender.multicast`."""
        return await self._send(prepare(joined(to), body, **options))

    def message(self, id: str) -> SentMessage:
        """Return a message that was sent before, perhaps by another process: it is known by its id."""
        return SentMessage(self, id)

    async def close(self) -> None:
        """Disconnect. Messages that are being sent, and later ones, end with `ConnectionLost`."""
        self._line().engine.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, message: Outgoing) -> SentMessage:
        await self._line().submit(message.destination, message.body, self._options, message.kind)
        return SentMessage(self, message.id, feedback=message.feedback)

    async def ask(self, question: Question) -> dict[str, Any]:
        """Ask the broker what became of a message, for `SentMessage`."""
        told: dict[str, Any] = await self._line().submit(
            METHOD, question.params, question.options, CALL
        )
        return told


class SentMessage:
    """A message that the broker has. `id` is what it is known by, here, in other processes and to its receiver."""

    def __init__(self, sender: Sender, id: str, *, feedback: bool = True) -> None:
        self.id = id
        self._sender = sender
        self._feedback = feedback

    async def status(self) -> Status:
        """Ask the broker how far it has come. Raises as `progress`."""
        return (await self.progress()).status

    async def progress(self) -> Progress:
        """Ask the broker how far it has come, at which destination, and why it failed.

        Raises `NotTracked` if nothing is known of it, `ConnectionLost` and `Timeout` if nobody can be asked.
        """
        self._check()
        try:
            return read_progress(await self._sender.ask(Question(self.id)))
        except RpcError as error:
            raise explained(error, self.id) from error

    async def wait(self, timeout: float | None = None) -> Status:
        """Wait for its end, PROCESSED, FAILED or EXPIRED, and return it. As `rpc.jobs.SentMessage.wait`."""
        self._check()
        patience = Patience(self.id, timeout, monotonic())
        while True:
            question = patience.ask(monotonic())
            try:
                ended = patience.take(await self._sender.ask(question))
            except RpcError as error:
                chance = random.random()  # noqa: S311  # no secret
                await asyncio.sleep(patience.rest(error, monotonic(), chance))
            else:
                if ended is not None:
                    return ended.status

    def _check(self) -> None:
        if not self._feedback:
            raise unasked(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class Consumer(LoopHost):
    """One loop over an inbox: its connection, and who waits for the next message. Made inside the event loop."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.address)
        self.inflow = Inflow(self, settings, self._say)
        self.lifeline = self.inflow.lifeline
        self._changed = asyncio.Event()
        self.lifeline.connect()

    def came(self) -> None:
        """There is something to take, or it is over; or whoever waits is to look at something else."""
        self._changed.set()

    async def next(self) -> Message | None:
        """Return the next message; None if there are no more, or `came` was called for another reason.

        Raises `BrokerRefused` if the broker has not even let it begin.
        """
        message = self.inflow.take()
        if message is None and not self.inflow.stopping:
            await self._changed.wait()
            self._changed.clear()
            message = self.inflow.take()
        if self.inflow.refusal is not None:
            raise self.inflow.refusal
        return message

    async def leave(self) -> None:
        """Leave, once the broker has confirmed what was said."""
        await asyncio.sleep(0)  # what was said just now
        self.inflow.finish()
        while not self.inflow.over:
            await self._changed.wait()
            self._changed.clear()
        if self._dialling is not None and not self._dialling.done():
            self._dialling.cancel()
            await asyncio.wait([self._dialling])

    def _say(self, message: Message, word: Word) -> None:
        """Tell the broker a word that was said in any thread."""
        self.loop.call_soon_threadsafe(self.inflow.say, message, word)


class Inbox:
    """The messages of a queue, one after the other, without end: for `async for`, or `serve`.

    Each loop is a consumer of its own, with a connection that is made again when it is lost; for several
    messages at once, run several. Of each message one word is said before the next is taken. A loop that
    is left, by `break` or by an exception, keeps a message without a word for later.
    """

    def __init__(self, url: str = URL, queue: str = INBOX, **options: Unpack[InboxOptions]) -> None:
        """As `rpc.jobs.Inbox`."""
        self._settings = read_settings(read_address(url), queue, **options)
        self._stopped = False
        self._consumers: set[Consumer] = set()

    async def __aiter__(self) -> AsyncGenerator[Message, None]:
        """Yield messages until `stop`. Raises as `rpc.jobs.Inbox` does."""
        if self._stopped:
            return
        message: Message | None = None
        consumer = Consumer(self._settings)
        self._consumers.add(consumer)
        try:
            while not consumer.inflow.stopping:
                message = await consumer.next()
                if message is not None:
                    yield message
                    check_word(message)
        finally:
            self._consumers.discard(consumer)
            give_back(message)
            await consumer.leave()

    async def serve(
        self,
        handle: Callable[[Message], Awaitable[bool] | bool],
        *,
        signals: bool = False,
    ) -> None:
        """Call a function, `async` or not, with each message, until `stop` or cancelled. As `rpc.jobs.Inbox.serve`.

        `signals`: SIGTERM and SIGINT stop it too.
        """
        with stopped_by_signals(self.stop) if signals else nullcontext():
            async with aclosing(aiter(self)) as messages:
                async for message in messages:
                    settle(message, await self._call(handle, message))

    async def _call(
        self, handle: Callable[[Message], Awaitable[bool] | bool], message: Message
    ) -> bool:
        try:
            done = handle(message)
            return await done if inspect.isawaitable(done) else done
        except Exception:
            note_failure(message)
            return False

    def stop(self) -> None:
        """End all loops after the messages they are at, and any later loop at once; in the loop's thread."""
        self._stopped = True
        for consumer in self._consumers:
            consumer.inflow.stop()
