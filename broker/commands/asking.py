"""What the commands share that call remote functions: a connection, what is printed, how they end.

Knows clients and terminals; what is asked is each command's own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

import msgspec

from broker.commands.line import FAILED, SIGNALLED, USAGE, UsageError, broker_url, complain
from rpc.blocking.line import Line
from rpc.calling.caller import CALL
from rpc.calling.calls import Kind
from rpc.calling.options import CallOptions
from rpc.errors import RpcError, ServiceUnavailable
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS
from rpc.tls import read_address


class Asker:
    """One connection to a broker, for the calls to one service.

    A `rpc.Client`, but that arguments may have any name, those of the client's own parameters too.
    """

    def __init__(
        self, url: str | None, service: str, options: CallOptions, *, durable: bool
    ) -> None:
        """Raises `UsageError` for a URL or a service that makes no sense."""
        self.options = options
        timeout = options.timeout or CONNECT_TIMEOUT
        try:
            self.line = Line(
                read_address(broker_url(url)),
                service,
                durable=durable,
                heart_beat=HEART_BEAT_SECONDS,
                connect_timeout=min(timeout, CONNECT_TIMEOUT),
            )
        except ValueError as error:
            raise UsageError(str(error)) from None

    def begin(self, method: str, params: Any, kind: Kind[Any] = CALL) -> Any:
        """Begin a call. Raises `UsageError` for arguments that cannot be written."""
        try:
            body = self.options.coder.encode(params)
            return self.line.begin(method, body, self.options, kind)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"the arguments cannot be sent: {error}") from None

    def ask(self, method: str, params: Any = (), kind: Kind[Any] = CALL) -> Any:
        """Call a function and return its result. Raises as `rpc.Client.call` does, and as `begin`."""
        return self.line.finish(self.begin(method, params, kind))


@contextmanager
def connection(
    url: str | None, service: str, options: CallOptions, *, durable: bool = False
) -> Iterator[Asker]:
    """Make a connection, and end it. See `Asker`."""
    asker = Asker(url, service, options, durable=durable)
    try:
        yield asker
    except ServiceUnavailable:  # says itself what a program would write to wait for one
        raise ServiceUnavailable(f"No worker serves {service!r}") from None
    finally:
        asker.line.close()


def make_options(**options: Any) -> CallOptions:
    """Return how calls are made. Raises `UsageError` for what makes no sense."""
    try:
        return CallOptions(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def ended(action: Callable[[], int]) -> int:
    """Do what a command does; return the exit status, with what went wrong said in one line.

    Ctrl-C and SIGTERM end it in order: whoever runs a call hears that nobody waits for it any more.
    """
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        return action()
    except UsageError as error:
        return complain(str(error), USAGE)
    except RpcError as error:
        return complain(describe_error(error), FAILED)
    except BrokenPipeError:  # who read our output has enough
        leave_output()
        return SIGNALLED + signal.SIGPIPE
    except KeyboardInterrupt:
        return SIGNALLED + signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(SIGNALLED + number)


def leave_output() -> None:
    """Write nothing more to standard output, neither when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def describe_error(error: RpcError) -> str:
    """Return an error's name and what it says."""
    return f"{type(error).__name__}: {error}"


def show(value: Any, *, pretty: bool = False, raw: bool = False) -> None:
    """Print a value as JSON, in one line unless it is to be `pretty`; at once, for a line may be one of many.

    What JSON has not got is printed as msgspec writes it: moments as in RFC 3339, bytes in base64. `raw`:
    text without quotes, and bytes as they are.
    """
    out = sys.stdout.buffer
    if raw and isinstance(value, bytes):
        out.write(value)
    elif raw and isinstance(value, str):
        out.write(value.encode() + b"\n")
    else:
        data = msgspec.json.encode(value, enc_hook=repr)
        out.write((msgspec.json.format(data, indent=2) if pretty else data) + b"\n")
    out.flush()


def is_terminal(stream: TextIO | None = None) -> bool:
    """Return whether a human reads what is printed."""
    return (stream or sys.stdout).isatty()
