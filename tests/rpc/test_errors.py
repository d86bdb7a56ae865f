"""The public exceptions."""

import pickle

import pytest

import rpc
import rpc.jobs

PUBLIC = [
    value
    for value in (vars(rpc) | vars(rpc.jobs)).values()
    if isinstance(value, type) and issubclass(value, rpc.RpcError)
]


def family(kind: type[rpc.RpcError]) -> set[type[rpc.RpcError]]:
    return {kind}.union(*(family(each) for each in kind.__subclasses__()))


def test_all_of_them_are_public() -> None:
    ours = {kind for kind in family(rpc.RpcError) if kind.__module__.startswith("rpc.")}
    assert set(PUBLIC) == ours
    assert {kind.__name__ for kind in PUBLIC} <= {*rpc.__all__, *rpc.jobs.__all__}


@pytest.mark.parametrize("kind", PUBLIC)
def test_each_says_when_it_is_raised(kind: type[rpc.RpcError]) -> None:
    assert kind.__doc__


def test_the_standard_librarys_families_catch_them_too() -> None:
    assert issubclass(rpc.Timeout, TimeoutError)
    assert issubclass(rpc.ConnectionLost, ConnectionError)


@pytest.mark.parametrize(
    "error",
    [
        *(rpc.Timeout("late"), rpc.ConnectionLost("gone", sent=True), rpc.RemoteTimeout("slow")),
        *(rpc.BrokerRefused("no", sent=False), rpc.ErrorReply("odd", {"a": 1}, 42)),
        *(rpc.Overloaded("busy", retry_after=2.0), rpc.RemoteError("E: a", {"type": "E"})),
    ],
)
def test_a_function_in_another_process_may_raise_them(error: rpc.RpcError) -> None:
    got = pickle.loads(pickle.dumps(error))
    assert type(got) is type(error)
    assert str(got) == str(error)
    assert vars(got) == vars(error)
