"""Unfinished frames of all connections: who is read from while there are too many of them."""

from __future__ import annotations

from broker.arriving import FEW, LARGE, Arriving

SIZE = 4 * LARGE


class Link:
    """Somebody who sends large frames."""

    def __init__(self, arriving: Arriving) -> None:
        self.paused = False
        self.kept = 0
        self._arriving = arriving

    def keep(self, size: int) -> None:
        before, self.kept = self.kept, size
        self._arriving.keep(self, size, before)

    def leave(self) -> None:
        self._arriving.leave(self, self.kept)

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


def links(count: int, most: int = SIZE) -> tuple[Arriving, list[Link]]:
    arriving = Arriving(most)
    return arriving, [Link(arriving) for _ in range(count)]


def paused(some: list[Link]) -> list[bool]:
    return [link.paused for link in some]


def test_at_the_limit_everybody_is_read_from() -> None:
    arriving, some = links(2)
    for link in some:
        link.keep(SIZE // 2)
    assert arriving.bytes == SIZE
    assert paused(some) == [False, False]


def test_above_the_limit_the_first_goes_on() -> None:
    """The others wait in the order in which they began, each until the one before it is done."""
    _, some = links(3)
    for size in range(LARGE, SIZE + 1, LARGE):
        for link in some:
            if not link.paused:
                link.keep(size)
    assert paused(some) == [False, True, True]
    some[0].keep(0)
    assert paused(some) == [False, False, False]  # there is room now
    some[1].keep(SIZE)
    some[2].keep(SIZE)
    assert paused(some) == [False, False, True]
    some[1].keep(0)
    assert paused(some) == [False, False, False]


def test_small_frames_always_arrive() -> None:
    _, some = links(2)
    some[0].keep(2 * SIZE)
    some[1].keep(LARGE)
    assert paused(some) == [False, False]


def test_who_leaves_makes_room() -> None:
    """Whether it was read from or not, and it is not touched any more."""
    arriving, some = links(3)
    for link in some:
        link.keep(SIZE)
    assert paused(some) == [False, True, True]
    some[1].leave()
    some[0].leave()
    assert paused(some) == [False, True, False]
    some[2].leave()
    assert arriving.bytes == 0


def test_a_frame_that_ends_while_it_waits() -> None:
    """What was read before the pause may hold its end."""
    arriving, some = links(2)
    for link in some:
        link.keep(SIZE)
    assert some[1].paused
    some[1].keep(10)
    assert paused(some) == [False, False]
    assert arriving.bytes == SIZE + 10


def test_a_few_go_on_at_a_time() -> None:
    """Each reads a packet before it is counted: not everybody at once."""
    _, [first, *others] = links(40, 25 * SIZE)
    first.keep(25 * SIZE)
    for link in others:
        link.keep(LARGE + 1)
    assert all(paused(others))
    first.keep(0)
    assert paused(others) == [False] * FEW + [True] * (39 - FEW)
    others[0].keep(0)
    assert paused(others).count(True) == 39 - 2 * FEW
