"""What a worker makes of a request's body: body in, reply body out."""

import json
from typing import Any

import pytest

from rpc.codec import JSON
from rpc.methods import Methods


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
