"""The public exceptions."""

import pytest

import rpc
from rpc import errors

PUBLIC = [
    value
    for value in vars(rpc).values()
    if isinstance(value, type) and issubclass(value, rpc.RpcError)
]


def test_all_of_them_are_public() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, rpc.RpcError)
    }
    assert set(PUBLIC) == defined
    assert {kind.__name__ for kind in PUBLIC} <= set(rpc.__all__)


@pytest.mark.parametrize("kind", PUBLIC)
def test_each_says_when_it_is_raised(kind: type[rpc.RpcError]) -> None:
    assert kind.__doc__


def test_the_standard_librarys_families_catch_them_too() -> None:
    assert issubclass(rpc.Timeout, TimeoutError)
    assert issubclass(rpc.ConnectionLost, ConnectionError)
