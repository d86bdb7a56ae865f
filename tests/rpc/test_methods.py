"""What a worker makes of a request's body: body in, reply body out."""

import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from rpc.codec import CODECS, JSON, MSGPACK, Codec, codec_for
from rpc.errors import ErrorReply, Forbidden, InvalidParams, MethodNotFound, Overloaded, RemoteError
from rpc.working.methods import ABSENT, Method, MethodOptions, Methods, Request

both = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def whee(argument: Any) -> Any:
    """Return what the demonstration returns."""
    return {"Whee": argument}


def ask(methods: Methods, method: Any, params: Any = (), **more: Any) -> Any:
    """Return the reply to one request, read."""
    request = {"jsonrpc": "2.0", "method": method, "params": params, "id": "c-1"} | more
    return answer(methods, JSON.encode(request))


def answer(methods: Methods, body: bytes) -> Any:
    reply = methods.read(body).run()
    return None if reply is None else json.loads(reply)


def test_a_function_is_found_run_and_answered() -> None:
    methods = Methods()
    assert methods.add(whee) is whee
    assert ask(methods, "whee", [123]) == {"jsonrpc": "2.0", "result": {"Whee": 123}, "id": "c-1"}
    assert ask(methods, "whee", {"argument": 1})["result"] == {"Whee": 1}
    assert (
        methods.read(JSON.encode({"jsonrpc": "2.0", "method": "whee", "params": [1]})).name
        == "whee"
    )


def test_as_a_decorator_with_and_without_a_name() -> None:
    methods = Methods()

    @methods.add
    def one() -> int:
        return 1

    @methods.add(name="zwei")
    def two() -> int:
        return 2

    assert (one(), two()) == (1, 2)
    assert ask(methods, "one")["result"] == 1
    assert ask(methods, "zwei")["result"] == 2
    assert "two" not in methods


def test_a_name_is_given_once_and_not_json_rpcs_own() -> None:
    methods = Methods()
    methods.add(whee)
    with pytest.raises(ValueError, match="already"):
        methods.add(whee)
    for name in ("", "rpc.whee"):
        with pytest.raises(ValueError, match="cannot be the name"):
            methods.add(whee, name=name)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="callable"):
        Methods().add(7)  # type: ignore[call-overload]


def test_an_unknown_function_is_an_error_at_once() -> None:
    reply = ask(Methods(), "nobody")
    assert reply["error"]["code"] == -32601
    assert "nobody" in reply["error"]["message"]
    assert reply["id"] == "c-1"


def optional(a: int, b: int = 2, *, c: int = 3) -> list[int]:
    return [a, b, c]


def keyword(a: int, *, c: int) -> list[int]:
    return [a, c]


def many(*args: int, **more: int) -> list[int]:
    return [*args, *more.values()]


def positional(a: int, /) -> int:
    return a


@pytest.mark.parametrize(
    ("function", "params", "result"),
    [
        (optional, [1], [1, 2, 3]),
        (optional, [1, 9], [1, 9, 3]),
        (optional, {"a": 1, "c": 9}, [1, 2, 9]),
        (keyword, {"a": 1, "c": 2}, [1, 2]),
        (many, [], []),
        (many, [1, 2, 3], [1, 2, 3]),
        (many, {"x": 1}, [1]),
        (positional, [1], 1),
        (abs, [-3], 3),
    ],
)
def test_params_that_fit(function: Any, params: Any, result: Any) -> None:
    methods = Methods()
    methods.add(function)
    assert ask(methods, function.__name__, params)["result"] == result


@pytest.mark.parametrize(
    ("function", "params"),
    [
        (whee, []),
        (whee, [1, 2]),
        (whee, {}),
        (whee, {"other": 1}),
        (whee, {"argument": 1, "other": 1}),
        (optional, []),
        (optional, [1, 2, 3]),
        (keyword, [1]),
        (keyword, {"a": 1}),
        (positional, {"a": 1}),
    ],
)
def test_params_that_do_not_fit_name_the_signature(function: Any, params: Any) -> None:
    methods = Methods()
    methods.add(function)
    error = ask(methods, function.__name__, params)["error"]
    assert error["code"] == -32602
    assert error["message"].startswith(f"{function.__name__}(")


def test_a_type_error_inside_the_function_is_not_about_the_params() -> None:
    def adds(a: Any) -> Any:
        return a + 1

    methods = Methods()
    methods.add(adds)
    error = ask(methods, "adds", ["x"])["error"]
    assert error["code"] == -32000
    assert error["data"]["type"] == "TypeError"


class BadError(Exception):
    """Fails when it is asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (KeyError("a"), "KeyError", "'a'"),
        (ValueError("grüß"), "ValueError", "grüß"),
        (ValueError("\ud800"), "ValueError", "?"),
        (ValueError(), "ValueError", ""),
        (SystemExit(3), "SystemExit", "3"),
        (BadError(), "BadError", ""),
    ],
)
def test_what_a_function_raises_is_told(raised: BaseException, kind: str, text: str) -> None:
    def fails() -> None:
        raise raised

    methods = Methods()
    methods.add(fails)
    error = ask(methods, "fails")["error"]
    assert error == {
        "code": -32000,
        "message": f"{kind}: {text}" if text else kind,
        "data": {"type": kind, "message": text},
    }


def test_a_traceback_is_told_only_if_allowed() -> None:
    def fails() -> None:
        raise ValueError("deep")

    methods = Methods(tracebacks=True)
    methods.add(fails)
    traceback = ask(methods, "fails")["error"]["data"]["traceback"]
    assert traceback.startswith("Traceback (most recent call last)")
    assert "in fails" in traceback
    assert "methods.py" not in traceback.replace("test_methods.py", "")


def test_a_result_that_json_cannot_express() -> None:
    methods = Methods()
    methods.add(lambda: object(), name="a_thing")
    error = ask(methods, "a_thing")["error"]
    assert error["code"] == -32603
    assert "a_thing" in error["message"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 50_000, -32700),
        (b"7", -32600),
        (b"null", -32600),
        (b"[]", -32600),
        (b"{}", -32600),
        (b'{"method":"whee","id":1}', -32600),
        (b'{"jsonrpc":"1.0","method":"whee","id":1}', -32600),
        (b'{"jsonrpc":"2.0","method":7,"id":1}', -32600),
        (b'{"jsonrpc":"2.0","method":"whee","params":"x","id":1}', -32600),
        (b'{"jsonrpc":"2.0","method":"whee","params":null,"id":1}', -32600),
        (b'{"jsonrpc":"2.0","method":"whee","params":[1],"id":[]}', -32600),
        (b'{"jsonrpc":"2.0","method":"whee","params":[1],"id":1e999}', -32600),
    ],
)
def test_a_bad_request_is_answered_with_its_fault(body: bytes, code: int) -> None:
    methods = Methods()
    methods.add(whee)
    assert answer(methods, body)["error"]["code"] == code
    assert methods.read(body).name == ""


@pytest.mark.parametrize("call_id", ["c", "", 7, -1.5, None, "\ud800"])
def test_the_id_comes_back_as_it_was(call_id: Any) -> None:
    methods = Methods()
    methods.add(whee)
    assert ask(methods, "whee", [1], id=call_id)["id"] == call_id
    assert ask(methods, "nobody", id=call_id)["id"] == call_id


def test_a_request_without_an_id_is_run_and_not_answered() -> None:
    """JSON-RPC 2.0, section 4.1: not even its errors are told."""
    ran: list[int] = []
    methods = Methods()
    methods.add(ran.append, name="note")
    assert answer(methods, b'{"jsonrpc":"2.0","method":"note","params":[1]}') is None
    assert answer(methods, b'{"jsonrpc":"2.0","method":"note","params":[]}') is None
    assert answer(methods, b'{"jsonrpc":"2.0","method":"nobody"}') is None
    assert ran == [1]


def test_several_requests_in_one_body() -> None:
    """JSON-RPC 2.0, section 6: each is answered, in one array; notifications are not."""
    methods = Methods()
    methods.add(whee)
    body = JSON.encode(
        [
            {"jsonrpc": "2.0", "method": "whee", "params": [1], "id": 1},
            {"jsonrpc": "2.0", "method": "whee", "params": [2]},
            {"jsonrpc": "2.0", "method": "nobody", "id": 3},
            7,
        ]
    )
    replies = answer(methods, body)
    assert [reply["id"] for reply in replies] == [1, 3, None]
    assert replies[0]["result"] == {"Whee": 1}
    assert [reply["error"]["code"] for reply in replies[1:]] == [-32601, -32600]
    assert answer(methods, b'[{"jsonrpc":"2.0","method":"whee","params":[2]}]') is None


def test_nothing_runs_before_it_is_told_to() -> None:
    ran: list[int] = []
    methods = Methods()
    methods.add(ran.append, name="note")
    invocation = methods.read(b'{"jsonrpc":"2.0","method":"note","params":[1],"id":1}')
    assert not ran
    invocation.run()
    assert ran == [1]


# Whoever runs them


def request(methods: Methods, method: str, *params: Any, codec: Codec = JSON) -> Request:
    """Return what a request of this kind is read as."""
    told = {"jsonrpc": "2.0", "method": method, "params": params, "id": "c-1"}
    return methods.read(codec.encode(told), codec)


@dataclass
class Point:
    x: int
    y: int


def add(a: Point, b: Point, *, sign: int = 1) -> Point:
    """Add two points."""
    return Point(a.x + sign * b.x, a.y + sign * b.y)


@both
def test_a_request_is_read_run_and_answered_in_its_codec(codec: Codec) -> None:
    methods = Methods()
    methods.add(add, timeout=5)
    got = request(methods, "add", {"x": 1, "y": 2}, Point(3, 4), codec=codec)
    (asked,) = got.asked
    assert (got.name, got.is_batch, got.is_quick, got.options.timeout) == ("add", False, False, 5)
    assert (asked.args, asked.kwargs, asked.call_id) == ([Point(1, 2), Point(3, 4)], {}, "c-1")
    assert asked.method is not None
    assert asked.method.function is add
    assert asked.fault is None
    result = asked.call()
    assert result == Point(4, 6)
    reply = got.reply([asked.succeeded(result)])
    assert reply is not None
    assert codec.read_reply(reply) == {"x": 4, "y": 6}


@both
def test_arguments_by_name(codec: Codec) -> None:
    methods = Methods()
    methods.add(add)
    point = {"x": 1, "y": 1}
    body = {"jsonrpc": "2.0", "method": "add", "params": {"a": point, "b": point, "sign": -1}}
    (asked,) = methods.read(codec.encode(body), codec).asked
    assert (list(asked.args), asked.call_id) == ([], ABSENT)
    assert asked.call() == Point(0, 0)
    assert asked.succeeded(1) is None
    assert asked.failed(ValueError()) is None


def test_what_cannot_be_run_has_a_fault() -> None:
    methods = Methods()
    methods.add(add)
    got = request(methods, "add", {"x": 1, "y": 2}, {"x": "3", "y": 4})
    (asked,) = got.asked
    assert got.name == ""
    assert got.is_quick
    assert got.options == MethodOptions()
    assert asked.method is None
    assert isinstance(asked.fault, InvalidParams)
    assert str(asked.fault).startswith("add(a: ")
    assert str(asked.fault).endswith("argument 'b': Expected `int`, got `str` - at `b.x`")
    assert asked.fault.data["argument"] == "b"
    with pytest.raises(InvalidParams):
        asked.call()
    with pytest.raises(InvalidParams, match="argument 'b'"):
        JSON.read_reply(asked.failed(asked.fault) or b"")


def test_a_content_type_that_is_not_read_is_told() -> None:
    codec = codec_for("text/xml")
    reply = Methods().read(b"<call/>", codec).run()
    error = json.loads(reply or b"")["error"]
    assert error["code"] == -32700
    assert error["message"] == (
        "The request is not application/json or application/msgpack: its content-type is 'text/xml'"
    )


def test_msgpack_that_is_none() -> None:
    reply = Methods().read(b"{}", MSGPACK).run()
    assert MSGPACK.decode(reply or b"")["error"]["code"] == -32700


async def coroutine() -> int:
    return 1


def generator() -> Iterator[int]:
    """Yield."""
    yield 1


async def agenerator() -> AsyncIterator[int]:
    """Yield, later."""
    yield 1


class Later:
    """Is called, later."""

    async def __call__(self) -> int:
        return 1

    async def method(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("function", "is_async", "is_stream"),
    [
        *((whee, False, False), (coroutine, True, False), (generator, False, True)),
        *((agenerator, True, True), (partial(coroutine), True, False), (Later(), True, False)),
        *((Later().method, True, False), (partial(generator), False, True), (Later, False, False)),
    ],
)
def test_what_a_call_returns_is_known_before(
    function: Any, is_async: bool, is_stream: bool
) -> None:
    methods = Methods()
    methods.add(function, name="function")
    (method,) = methods
    assert (method.is_async, method.is_stream) == (is_async, is_stream)


def test_what_is_asynchronous_runs_on_a_loop() -> None:
    with pytest.raises(ValueError, match="coroutine is asynchronous"):
        Methods().add(coroutine, run_in="thread")
    with pytest.raises(ValueError, match="generator"):
        Methods().add(generator, run_in="process")
    methods = Methods()
    methods.add(coroutine, run_in="loop")
    returned = request(methods, "coroutine").asked[0].call()
    with pytest.raises(StopIteration) as raised:
        returned.send(None)
    assert raised.value.value == 1


def test_a_partial_has_its_functions_name_and_words() -> None:
    methods = Methods()
    methods.add(partial(whee, argument=1))
    (method,) = methods
    assert (method.name, method.doc) == ("whee", "Return what the demonstration returns.")


@both
@pytest.mark.parametrize(
    "error",
    [
        Overloaded("busy", retry_after=2.0),
        Forbidden("not you"),
        InvalidParams("not that", {"argument": "a"}),
        MethodNotFound("not here"),
        ErrorReply("of our own", [1], 42),
    ],
)
def test_an_error_of_the_family_is_sent_as_itself(codec: Codec, error: ErrorReply) -> None:
    def fails() -> None:
        raise error

    methods = Methods(tracebacks=True)
    methods.add(fails)
    reply = request(methods, "fails", codec=codec).run()
    with pytest.raises(type(error)) as raised:
        codec.read_reply(reply or b"")
    got = raised.value
    assert (got.code, got.message, got.data) == (error.code, error.message, error.data)


class OddError(ErrorReply):
    """Fails when it is asked for its text."""

    code = -32050

    def __str__(self) -> str:
        raise RuntimeError


@both
@pytest.mark.parametrize("error", [Forbidden("no", object()), OddError("no"), Forbidden("\ud800")])
def test_an_error_that_cannot_be_sent_keeps_its_code(codec: Codec, error: ErrorReply) -> None:
    methods = Methods()
    methods.add(whee)
    (asked,) = request(methods, "whee", 1, codec=codec).asked
    with pytest.raises(ErrorReply) as raised:
        codec.read_reply(asked.failed(error) or b"")
    assert raised.value.code == error.code


class BadValue:
    """Fails when it is written down."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise KeyError("bad")


@both
@pytest.mark.parametrize("result", [object(), [1j], {"a": print}, BadValue()])
def test_a_result_that_cannot_be_sent_is_the_workers_fault(codec: Codec, result: Any) -> None:
    methods = Methods()
    methods.add(whee)
    (asked,) = request(methods, "whee", 1, codec=codec).asked
    with pytest.raises(ErrorReply, match=f"whee returned what {codec.title} is not") as raised:
        codec.read_reply(asked.succeeded(result) or b"")
    assert raised.value.code == -32603


def boom() -> None:
    raise ValueError("\ud800 deep")


@both
def test_a_traceback_begins_at_the_function_wherever_it_ran(codec: Codec) -> None:
    methods = Methods()
    methods.add(boom)
    (asked,) = request(methods, "boom", codec=codec).asked
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(asked.call).exception()
    assert error is not None
    with pytest.raises(RemoteError) as raised:
        codec.read_reply(asked.failed(error, True) or b"")
    lines = (raised.value.traceback or "").splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith("in boom")
    assert lines[-1] == "ValueError: ? deep"
    with pytest.raises(RemoteError) as raised:
        codec.read_reply(asked.failed(error, False) or b"")
    assert raised.value.traceback is None


def test_a_batch_is_answered_in_one_body() -> None:
    methods = Methods()
    methods.add(whee)
    requests = [
        {"jsonrpc": "2.0", "method": "whee", "params": [1], "id": 1},
        {"jsonrpc": "2.0", "method": "whee", "params": [2]},
        {"jsonrpc": "2.0", "method": "gone", "id": 3},
    ]
    got = methods.read(MSGPACK.encode(requests), MSGPACK)
    assert (got.is_batch, got.name, got.is_quick, len(got.asked)) == (True, "", False, 3)
    responses = [
        each.failed(each.fault) if each.fault else each.succeeded(each.call()) for each in got.asked
    ]
    assert responses[1] is None
    answers = MSGPACK.read_batch(got.reply(responses) or b"")
    assert answers[1] == {"Whee": 1}
    assert isinstance(answers[3], MethodNotFound)
    assert list(answers) == [1, 3]
    assert got.reply([None, None, None]) is None


def test_a_batch_of_one_is_a_batch() -> None:
    methods = Methods()
    methods.add(whee)
    got = methods.read(b'[{"jsonrpc":"2.0","method":"whee","params":[1],"id":1}]')
    assert got.is_batch
    assert (got.run() or b"").startswith(b"[")


@pytest.mark.parametrize("call_id", [b"x", [1], {"a": 1}, float("nan")])
def test_an_id_that_only_messagepack_could_express(call_id: Any) -> None:
    body = MSGPACK.encode({"jsonrpc": "2.0", "method": "whee", "id": call_id})
    reply = MSGPACK.decode(Methods().read(body, MSGPACK).run() or b"")
    assert reply["error"]["code"] == -32600
    assert reply["id"] is None


def test_names_by_which_only_messagepack_could_pass_arguments() -> None:
    methods = Methods()
    methods.add(many)
    body = MSGPACK.encode({"jsonrpc": "2.0", "method": "many", "params": {1: 2}, "id": 1})
    reply = MSGPACK.decode(methods.read(body, MSGPACK).run() or b"")
    assert reply["error"]["code"] == -32602


# The worker's own


def test_the_workers_own_functions_are_quick() -> None:
    methods = Methods()
    methods.add_own(lambda: "pong", "rpc.ping")
    methods.add(whee)
    assert request(methods, "rpc.ping").is_quick
    assert json.loads(request(methods, "rpc.ping").run() or b"")["result"] == "pong"
    ping = {"jsonrpc": "2.0", "method": "rpc.ping", "id": 1}
    batch = [ping, ping | {"method": "gone"}]
    assert methods.read(JSON.encode(batch)).is_quick
    with_another = [*batch, ping | {"method": "whee", "params": [1]}]
    assert not methods.read(JSON.encode(with_another)).is_quick
    with pytest.raises(ValueError, match="not the worker's own"):
        methods.add_own(whee, "whee")


def test_what_is_known_of_a_function() -> None:
    options = MethodOptions(retries=2, idempotent=True)
    method = Method("sum", add, options)
    assert (method.name, method.function, method.options) == ("sum", add, options)
    assert method.doc == "Add two points."
    assert str(method.signature).endswith("sign: int = 1) -> " + f"{__name__}.Point")
