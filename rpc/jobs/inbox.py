"""`Inbox` for programs with threads, or without: one loop over messages is one consumer.

Its connection lives on an event loop in a thread of its own, so that heart-beats go on and the connection is made
again while a message is worked on, however long that takes. asyncio is imported when a loop begins: programs that only
send do without.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Unpack

from rpc.blocking.signals import stopped_by_signals
from rpc.blocking.stream import Bell
from rpc.jobs.consuming import (
    InboxOptions,
    check_word,
    give_back,
    note_failure,
    read_settings,
    settle,
)
from rpc.jobs.destinations import INBOX, URL
from rpc.jobs.message import Message
from rpc.tls import read_address

if TYPE_CHECKING:
    from rpc.jobs.aio import Consumer


class Inbox:
    """The messages of a queue, one after the other, without end: for `for`, or `serve`.

    Each loop is a consumer of its own, with a connection that is made again when it is lost; for several
    messages at once, run several, each in a thread or process. Of each message one word is said before the
    next is taken. A loop that is left, by `break` or by an exception, keeps a message without a word for
    later. SIGTERM and SIGINT end the loop in the main thread after the message it is at, and the broker has
    confirmed what was said; a second one ends the process.
    """

    def __init__(self, url: str = URL, queue: str = INBOX, **options: Unpack[InboxOptions]) -> None:
        """`url`: of the program's own broker; `queue`: `orders`, or `/queue/orders`.

        Raises `ValueError` for what makes no sense.
        """
        self._settings = read_settings(read_address(url), queue, **options)
        self._stopped = False
        self._stops: set[Callable[[], object]] = set()  # each ends a loop, in any thread

    def __iter__(self) -> Generator[Message, None, None]:
        """Yield messages until `stop`, or a signal.

        A broker that cannot be reached, or that goes away, is tried again and again. Raises `BrokerRefused`
        if it refuses the very first CONNECT or SUBSCRIBE, and `RuntimeError` when the next message is asked
        for and nothing was said of the last one.
        """
        from rpc.blocking.loop import Loop
        from rpc.jobs.aio import Consumer

        message: Message | None = None
        with ExitStack() as stack:
            bell = stack.enter_context(closing(Bell()))
            loop = stack.enter_context(closing(Loop()))

            async def begin() -> Consumer:
                consumer = Consumer(self._settings)

                def rung() -> None:  # a signal: let the main thread look
                    bell.hush()
                    consumer.came()

                consumer.loop.add_reader(bell, rung)
                return consumer

            consumer = loop.run(begin()).result()
            stack.callback(lambda: loop.run(consumer.leave()).result())
            stack.callback(lambda: give_back(message))

            def stop() -> None:
                with suppress(RuntimeError):  # the loop is closed
                    consumer.loop.call_soon_threadsafe(consumer.inflow.stop)

            self._stops.add(stop)
            stack.callback(self._stops.discard, stop)
            stack.enter_context(stopped_by_signals(self.stop, bell.rope))
            if self._stopped:  # before it was among those that are stopped
                return
            while not consumer.inflow.stopping:
                message = loop.run(consumer.next()).result()
                if message is not None:
                    yield message
                    check_word(message)

    def serve(self, handle: Callable[[Message], bool]) -> None:
        """Call a function with each message, until `stop` or a signal.

        True: it is processed. False or an exception, which is logged: it is kept for later, as the queue's
        redelivery policy says. The function may say a word itself instead (`message.failed("why")`).
        """
        with closing(iter(self)) as messages:
            for message in messages:
                try:
                    done = handle(message)
                except Exception:
                    note_failure(message)
                    done = False
                settle(message, done)

    def stop(self) -> None:
        """End all loops after the messages they are at, and any later loop at once; from any thread."""
        self._stopped = True
        for stop in list(self._stops):
            stop()
