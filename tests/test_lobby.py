"""Who is turned away when too many come: the crowd that says nothing, and nobody else."""

from __future__ import annotations

from functools import partial

from broker.errors import Full
from broker.lobby import POLITE, SPARE, Lobby, most_connections


class Door:
    """A lobby, and what happens there."""

    def __init__(self, most: int = 100, most_waiting: int = 100) -> None:
        self.gone: list[str] = []
        self.said: list[str] = []
        self.texts: list[str] = []
        self.hurried: list[bool] = []
        self.lobby = Lobby(most, most_waiting, self.said.append)

    def come(self, *names: str, host: str = "10.0.0.1", now: float = 0.0) -> None:
        for name in names:
            self.lobby.come(name, f"{host}:1234", partial(self._turn_away, name), now)

    def _turn_away(self, name: str, error: Full, is_polite: bool) -> None:
        self.gone.append(name)
        self.hurried.append(not is_polite)
        self.texts.append(error.text)


def test_as_many_as_may_wait() -> None:
    """At the limit nobody goes; above it whoever has waited longest."""
    door = Door(most_waiting=3)
    door.come("a", "b", "c")
    assert door.gone == []
    door.come("d", "e")
    assert door.gone == ["a", "b"]
    assert door.lobby.waiting == 3
    assert door.texts == ["Too many connections: 3 may wait to be let in"] * 2


def test_who_is_let_in_waits_no_more() -> None:
    door = Door(most_waiting=2)
    for name in "abcdef":
        door.come(name)
        door.lobby.let_in(name)
    assert door.gone == []
    assert (len(door.lobby), door.lobby.waiting) == (6, 0)
    door.lobby.let_in("a")  # again
    assert door.lobby.waiting == 0


def test_a_crowd_pushes_out_itself() -> None:
    """Somebody from elsewhere may wait as long as he likes: the crowd has more to lose."""
    door = Door(most_waiting=3)
    door.come("visitor", host="10.0.0.2")
    door.come(*"abcdef")
    assert door.gone == [*"abcd"]
    door.lobby.let_in("visitor")
    assert door.gone == [*"abcd"]


def test_no_more_connections_than_may_be() -> None:
    """Those who are let in stay; the newcomer goes if nobody else waits."""
    door = Door(most=3)
    door.come(*"abc")
    for name in "abc":
        door.lobby.let_in(name)
    door.come("d")
    assert door.gone == ["d"]
    assert len(door.lobby) == 3  # it will be gone soon
    door.lobby.leave("a")
    door.come("e")
    assert door.gone == ["d"]
    for name in "bcde":
        door.lobby.leave(name)
    assert len(door.lobby) == 0


def test_some_get_the_time_to_hear_why() -> None:
    """A crowd does not: it would take descriptors meanwhile."""
    door = Door(most_waiting=1)
    door.come(*map(str, range(POLITE + 3)))
    assert door.hurried == [False] * POLITE + [True] * 2
    for name in "012":
        door.lobby.leave(name)
    door.come("x")
    assert door.hurried[-1] is False


def test_whoever_leaves_is_forgotten() -> None:
    door = Door(most_waiting=2)
    for name in "abcdef":
        door.come(name)
        door.lobby.leave(name)
        door.lobby.leave(name)  # again
    assert (len(door.lobby), door.lobby.waiting, door.gone) == (0, 0, [])


def test_the_operator_hears_of_it_now_and_then() -> None:
    """At once when it begins, once a minute as long as it lasts, and when it is over."""
    door = Door(most_waiting=10)
    door.come(*map(str, range(10)))
    assert door.said == []
    door.come("a", "b", now=1.0)
    assert door.said == [
        "10 connections may wait to be let in (max_waiting): 1 turned away, the last from 10.0.0.1"
    ]
    door.come("c", now=61.0)
    assert "2 turned away" in door.said[1]
    door.lobby.let_in("c")
    assert len(door.said) == 2
    for name in "ab":
        door.lobby.leave(name)
    assert door.said[2:] == ["there is room again: 9 connections, 8 of them not let in yet"]
    door.come(*"wxyz", now=62.0)
    assert "1 turned away" in door.said[3]  # it begins anew


def test_no_more_connections_than_open_files() -> None:
    assert most_connections(20_000, 1024) == 1024 - SPARE
    assert most_connections(500, 1024) == 500
    assert most_connections(500, 50) == 1
