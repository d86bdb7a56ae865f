"""What was asked of a worker's function, and the responses to it. Neither says who runs it, nor when.

Pure, like `methods`, which reads requests into these.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import msgspec

from rpc.codec import Codec
from rpc.errors import ErrorReply, Overloaded, RemoteError, is_reply
from rpc.working.registration import MethodOptions
from rpc.working.signature import Signature, unwrap

OWN = "rpc."  # begins the names that are not for functions of the user's (JSON-RPC 2.0, section 8)
ABSENT: Final = object()  # an id that is not there, which differs from an id that is null

_NO_LIMITS: dict[str, int] = {}
MOST_TOLD = 1024 * 1024  # bytes of answers to one batch of the worker's own methods
DEFAULTS = MethodOptions()


class Method:
    """A function under the name by which it is called."""

    __slots__ = (
        "accept",
        "doc",
        "function",
        "is_async",
        "is_own",
        "is_plain",
        "is_stream",
        "limits",
        "name",
        "options",
        "signature",
    )

    def __init__(
        self, name: str, function: Callable[..., Any], options: MethodOptions = DEFAULTS
    ) -> None:
        """Raises `TypeError` as `Signature` does, `ValueError` for options that the function cannot have."""
        inner = unwrap(function)
        self.name = name
        self.function = function
        self.options = options
        #: Its call returns a coroutine or an asynchronous generator: it wants an event loop.
        self.is_async = inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)
        #: Its call returns a generator, of either kind: the result comes item by item.
        self.is_stream = inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)
        #: It runs in whichever thread calls it.
        self.is_plain = not self.is_async and options.run_in in (None, "thread")
        most = options.concurrency
        #: Its name -> how often it may run at once; nothing if that may be as often as it likes.
        self.limits = _NO_LIMITS if most is None else {name: most}
        self.doc = inspect.getdoc(inner) or ""
        self.signature = Signature(function, name, check=options.check)
        self.accept = self.signature.accept
        self.is_own = name.startswith(OWN)  # the worker's
        if self.is_stream and options.run_in == "process":
            raise ValueError(f"{name} is a generator: its items cannot come out of another process")
        if self.is_async and options.run_in in ("thread", "process"):
            raise ValueError(
                f"{name} is asynchronous: it runs on a loop, not in a {options.run_in}"
            )


class Asked(msgspec.Struct, eq=False):  # made for each call, in a third of a class's time
    """One request of a body.

    `method` is None if `fault` says why it cannot be run; then the answer is `failed(fault)`.
    `args` and `kwargs` are as the function is to get them. `call_id` is `ABSENT` in a notification.
    """

    codec: Codec
    call_id: Any
    method: Method | None
    fault: ErrorReply | None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def found(self) -> Method:
        """Return the method; raises `fault` if it cannot be run."""
        if self.method is None:
            raise self.fault or AssertionError("what cannot be run has a fault")
        return self.method

    def call(self) -> Any:
        """Call the function and return what it returns, be it a coroutine or a generator.

        Raises what it raises, and `fault` if there is one.
        """
        return self.found().function(*self.args, **self.kwargs)

    def succeeded(self, result: Any) -> bytes | None:
        """Return the response that carries a result; None if nobody wants one.

        Never raises an `Exception`: a result that cannot be sent becomes an error.
        """
        call_id = self.call_id
        if call_id is ABSENT:
            return None
        codec = self.codec
        try:
            return codec.result_body(call_id, result)
        except Exception as error:  # an object's own code may take part in it
            name = self.method.name if self.method else ""
            return self.failed(ErrorReply(f"{name} returned what {codec.title} is not: {error}"))

    def failed(self, error: BaseException, tracebacks: bool = False) -> bytes | None:
        """Return the response that carries an error; None if nobody wants one.

        An `ErrorReply` that was raised here is sent as it is, anything else as `RemoteError`. `tracebacks`: with where it was
        raised, which shows the worker's code. Never raises an `Exception`.
        """
        call_id, codec = self.call_id, self.codec
        if call_id is ABSENT:
            return None
        told = error if is_reply(error) else _remote_error(error, tracebacks)
        try:
            return codec.error_body(call_id, told)
        except Exception:  # its data are no data, or its text is none
            return codec.error_body(call_id, ErrorReply(_text_of(error), None, told.code))


class Request:
    """What a body asks: one request, or (`is_batch`) several. `asked` has at least one."""

    __slots__ = (
        "_codec",
        "_tracebacks",
        "asked",
        "is_async",
        "is_batch",
        "is_quick",
        "limits",
        "name",
        "options",
    )

    def __init__(
        self, asked: Sequence[Asked], codec: Codec, is_batch: bool, tracebacks: bool
    ) -> None:
        self.asked = asked
        self.is_batch = is_batch
        self._codec = codec
        self._tracebacks = tracebacks
        method = None if is_batch else asked[0].method
        if method is None:
            methods = [each.method for each in asked if each.method is not None]
            #: The function's name; empty for a batch and for what cannot be run.
            self.name = ""
            #: The function's; those of a batch: see `_together`.
            self.options = _together(methods)
            #: Of the methods that may not run as often as they like: name -> how often at once.
            self.limits = {name: most for each in methods for name, most in each.limits.items()}
            #: It can be stopped while it runs.
            self.is_async = any(each.is_async for each in methods)
            #: There is nothing to run but the worker's own: `run` answers it at once.
            self.is_quick = all(each.method is None or each.method.is_own for each in asked)
        else:
            self.name = method.name
            self.options = method.options
            self.limits = method.limits
            self.is_async = method.is_async
            self.is_quick = method.is_own

    def reply(self, responses: Sequence[bytes | None]) -> bytes | None:
        """Return one body for the responses to all of `asked`; None if nobody wants any."""
        if not self.is_batch:
            return responses[0]
        wanted = [response for response in responses if response is not None]
        return self._codec.batch(wanted) if wanted else None

    def run(self) -> bytes | None:
        """Run all of it here and now, in order, and return the reply's body; None if nobody wants one.

        For functions that are neither asynchronous nor streams. Never raises an `Exception`. A few bytes
        ask for many, `rpc.describe` for one, so there is a limit to what a batch is told.
        """
        responses: list[bytes | None] = []
        left = MOST_TOLD
        for asked in self.asked:
            response = self._run(asked) if left > 0 else asked.failed(_too_much())
            responses.append(response)
            left -= len(response or b"")
        return self.reply(responses)

    def _run(self, asked: Asked) -> bytes | None:
        if asked.fault is not None:
            return asked.failed(asked.fault)
        try:
            result = asked.call()
        except (Exception, SystemExit) as error:  # whatever it is, it is the caller's to know
            return asked.failed(error, self._tracebacks)
        return asked.succeeded(result)


def _too_much() -> ErrorReply:
    return Overloaded("The answers to this batch are too long: ask for less at once")


def _together(methods: Sequence[Method]) -> MethodOptions:
    """Return the options of a batch: it is acknowledged, remembered and timed as a whole, and not retried."""
    if all(method.options is DEFAULTS for method in methods):
        return DEFAULTS
    options = [method.options for method in methods]
    times = [each.timeout for each in options if each.timeout is not None]
    once = any(each.delivery == "at-most-once" for each in options)
    return MethodOptions(
        timeout=sum(times) if len(times) == len(options) else None,
        delivery="at-most-once" if once else "at-least-once",
        idempotent=all(each.idempotent for each in options),
    )


def _remote_error(error: BaseException, tracebacks: bool) -> RemoteError:
    kind, text = type(error).__name__, _text_of(error)
    data = {"type": kind, "message": text}
    if tracebacks:
        lines = traceback.format_exception(type(error), error, _below(error.__traceback__))
        data["traceback"] = _expressible("".join(lines))
    return RemoteError(f"{kind}: {text}" if text else kind, data)


def _below(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames above the function, which say nothing about it."""
    each = trace
    while each is not None:
        if each.tb_frame.f_code is Asked.call.__code__:
            return each.tb_next
        each = each.tb_next
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(OWN):
        trace = trace.tb_next
    return trace


def _text_of(error: BaseException) -> str:
    """Return an exception's text as UTF-8 can express it; its own `__str__` may fail."""
    try:
        return _expressible(str(error))
    except Exception:
        return ""


def _expressible(text: str) -> str:
    return text.encode(errors="replace").decode()
