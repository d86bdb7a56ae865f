"""How words are a call: a table of what users type, and what is meant."""

from __future__ import annotations

from typing import Any

import pytest

from broker.commands.arguments import join_target, read_params, split_target
from broker.commands.line import UsageError

STDIN = '{"from": "stdin"}\n'


@pytest.mark.parametrize(
    ("text", "service", "method"),
    [
        ("demo.whee", "demo", "whee"),
        ("shop.orders.count", "shop.orders", "count"),
        ("demo.rpc.ping", "demo", "rpc.ping"),
        ("shop.orders.rpc.stats", "shop.orders", "rpc.stats"),
        ("a.rpc.rpc.ping", "a.rpc", "rpc.ping"),
        ("demo/math.add", "demo", "math.add"),
        ("shop.rpc/ping", "shop.rpc", "ping"),
        ("demo/a/b", "demo", "a/b"),
        ("rpc.ping", "rpc", "ping"),
    ],
)
def test_which_service_and_which_method(text: str, service: str, method: str) -> None:
    assert split_target(text) == (service, method)
    assert split_target(join_target(service, method)) == (service, method)


@pytest.mark.parametrize("text", ["demo", "demo.", ".whee", "demo/", "/whee", "", "."])
def test_what_names_no_method(text: str) -> None:
    with pytest.raises(UsageError, match=r"SERVICE\.METHOD"):
        split_target(text)


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], []),
        (["Hello"], ["Hello"]),
        (["1", "2.5", "-3", "true", "null"], [1, 2.5, -3, True, None]),
        (["007", "NaN", "-Infinity", "1e"], ["007", "NaN", "-Infinity", "1e"]),
        (['"3"'], ["3"]),
        ([""], [""]),
        (['["Hello", 2]'], ["Hello", 2]),
        (["[[1, 2]]"], [[1, 2]]),
        ([' {"a": 1}'], {"a": 1}),
        (["{}"], {}),
        (["[1]", "[2]"], [[1], [2]]),
        (['{"a": 1}', "x"], [{"a": 1}, "x"]),
        (
            ["a=1", "b=two", "c=[3]", 'd="4"', "e="],
            {"a": 1, "b": "two", "c": [3], "d": "4", "e": ""},
        ),
        (["größe=x=y"], {"größe": "x=y"}),
        (["a=-"], {"a": "-"}),
        (["http://x?a=b"], ["http://x?a=b"]),
        (["1=2"], ["1=2"]),
        (['"a=b"'], ["a=b"]),
        (["-"], {"from": "stdin"}),
        (["-", "1"], [{"from": "stdin"}, 1]),
        (["123456789012345678901234567890"], [123456789012345678901234567890]),
    ],
)
def test_what_the_arguments_are(words: list[str], params: Any) -> None:
    assert read_params(words, lambda: STDIN) == params


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["{a: 1}"], "no JSON"),
        (["[draft] one", "x"], "quotes of JSON"),
        (['"open'], "no JSON"),
        (["[NaN]"], "NaN is no number"),
        (["a=[1"], "no JSON"),
        (["a=1", "b"], "not both"),
        (["a=1", "a=2"], "two arguments 'a'"),
        (["-", "-"], "once only"),
        (["[" * 100_000], "no JSON"),
    ],
)
def test_what_is_a_mistake(words: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_params(words, lambda: STDIN)


def test_standard_input_must_be_json() -> None:
    with pytest.raises(UsageError, match="standard input is no JSON"):
        read_params(["-"], lambda: "Hello")
