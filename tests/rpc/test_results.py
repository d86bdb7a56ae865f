"""Results of idempotent calls: in memory, and in a file that several processes share."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rpc
from rpc.working.results import SharedResults
from tests.processes import Process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def results(path: Path) -> Iterator[rpc.SqliteResults]:
    with rpc.SqliteResults(path) as results:
        yield results


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what sets the clock of the file's user."""

    def set_to(moment: float) -> None:
        monkeypatch.setattr("rpc.blocking.results.time.time", lambda: moment)

    set_to(1000.0)
    return set_to


def count(path: Path) -> int:
    with sqlite3.connect(path) as data:
        [(number,)] = data.execute("SELECT count(*) FROM results")
    data.close()
    return int(number)


def test_memory_forgets_what_is_old_or_too_much() -> None:
    moment = 0.0
    results = rpc.MemoryResults(lambda: moment, seconds=10, most=3)
    for key in "abcd":
        results.put(key, key.encode())
    assert [results.get(key) for key in "abcd"] == [None, b"b", b"c", b"d"]
    moment = 5.0
    results.put("b", b"B")
    moment = 11.0
    assert [results.get(key) for key in "bcd"] == [b"B", None, None]


def test_what_is_kept_is_there(results: rpc.SqliteResults, path: Path) -> None:
    assert isinstance(results, SharedResults)
    assert results.get("a") is None
    results.put("a", b"\x00\xff\n")
    results.put("b", b"")
    results.put("b", b"B")
    with rpc.SqliteResults(path) as other:
        assert (other.get("a"), other.get("b")) == (results.get("a"), b"B")


def test_what_is_old_is_forgotten(path: Path, now: Callable[[float], None]) -> None:
    with rpc.SqliteResults(path, seconds=10) as results:
        for number in range(20):
            results.put(str(number), b"x")
        now(1009.0)
        assert results.get("7") == b"x"
        now(1010.0)
        assert results.get("7") is None
        assert results.claim("7")
        for number in range(3):
            results.put(f"new {number}", b"x")
        assert count(path) == 3


def test_there_are_never_too_many(path: Path) -> None:
    with rpc.SqliteResults(path, most=10) as results:
        for number in range(1000):
            results.put(str(number % 700), b"x" * 100)
        assert count(path) == 10
        assert results.get("299") == b"x" * 100


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"most": 0}])
def test_numbers_that_make_no_sense(path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="number of"):
        rpc.SqliteResults(path, **wrong)
    assert not path.exists()


def test_a_file_that_is_something_else(path: Path) -> None:
    path.write_text("Dear diary, " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        rpc.SqliteResults(path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_one_at_a_time_runs_what_has_a_key(results: rpc.SqliteResults, path: Path) -> None:
    with rpc.SqliteResults(path) as other:
        assert results.claim("a")
        assert not results.claim("a")
        assert not other.claim("a")
        assert other.claim("b")
        other.release("a")  # not its own
        assert not other.claim("a")
        results.release("a")
        assert other.claim("a")
        other.put("a", b"done")
        assert not results.claim("a")
        assert results.get("a") == b"done"
        assert not results.claim("b")
    assert results.claim("b")  # the other one has gone


def test_the_dead_run_nothing(results: rpc.SqliteResults, path: Path) -> None:
    source = f"""
import rpc, signal
results = rpc.SqliteResults({str(path)!r})
print(results.claim("a"), results.claim("b"))
signal.pause()
"""
    with Process("-c", source) as process:
        process.wait_for_line("^True True$")
        assert not results.claim("a")
        process.kill()
        assert results.claim("a")
        with rpc.SqliteResults(path) as third:
            assert third.claim("b")
    assert len(list(path.parent.glob("*.lock"))) == 1


def test_a_fork_is_another_process(results: rpc.SqliteResults, path: Path) -> None:
    """It has a connection of its own, and does not keep its parent alive in others' eyes."""
    source = f"""
import os, rpc, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
results = rpc.SqliteResults({str(path)!r})
assert results.claim("a")
child = os.fork()
if child == 0:
    print("child", os.getpid())
    signal.sigwait([signal.SIGUSR1])
    assert not results.claim("a")
    assert results.claim("b")
    results.put("c", b"from the child")
    print("done")
    signal.pause()
os.waitpid(child, 0)
"""
    with Process("-c", source) as process:
        child = int(process.wait_for_line(r"^child (\d+)$")[1])
        assert not results.claim("a")
        process.kill()
        assert results.claim("a")  # though the child, which has not used it yet, lives
        os.kill(child, signal.SIGUSR1)
        process.wait_for_line("^done$")
        assert results.get("c") == b"from the child"
        assert not results.claim("b")
        os.kill(child, signal.SIGKILL)


def test_threads_share_it(results: rpc.SqliteResults) -> None:
    won: list[str] = []

    def work() -> None:
        for number in range(50):
            if results.claim(str(number)):
                won.append(str(number))
                results.put(str(number), b"x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(won, key=int) == [str(number) for number in range(50)]


def test_closed_is_closed(path: Path) -> None:
    results = rpc.SqliteResults(path)
    results.close()
    results.close()
    with pytest.raises(sqlite3.ProgrammingError):
        results.get("a")
    assert not list(path.parent.glob("*.lock"))
