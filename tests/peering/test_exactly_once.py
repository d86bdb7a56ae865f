"""Whatever happens in whichever order, what was sent to a peer comes there once, and in order."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.peering.sites import Line, Site, settle

QUEUE = "/queue/x"
SIDES = st.integers(0, 1)


class Link(RuleBasedStateMachine):
    """Two brokers, one of which dials. Both send; both are killed; the link is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.sites = (Site("A", "B", "stomp://b"), Site("B", "A"))
        self.line: Line | None = None
        self.count = 0
        self.sent: dict[int, list[tuple[str, bytes]]] = defaultdict(list)  # by whom: priority, body
        self.stored: set[bytes] = set()  # was on disk where it was sent
        self.waiting: dict[int, list[bytes]] = defaultdict(list)  # the same, but not yet

    @rule(side=SIDES, priority=st.sampled_from(["4", "4", "4", "9"]), number=st.integers(1, 3))
    def send(self, side: int, priority: str, number: int) -> None:
        """A client sends to the other broker."""
        for _ in range(number):
            self.count += 1
            body = b"%d" % self.count
            target = f"/peer/{'BA'[side]}{QUEUE}"
            self.sites[side].send(target, body, priority=priority)
            self.sent[side].append((priority, body))
            self.waiting[side].append(body)

    @rule(side=SIDES, number=st.integers(1, 9))
    @precondition(lambda self: self.line is not None)
    def deliver(self, side: int, number: int) -> None:
        """Some of what is on its way arrives."""
        assert self.line is not None
        for _ in range(number):
            self.line.deliver(side)

    @rule(side=SIDES)
    def commit(self, side: int) -> None:
        """What was done comes to the disk: all of it, for the second batch has what came meanwhile."""
        self.sites[side].commit_all()
        self.stored.update(self.waiting.pop(side, []))

    @rule(side=SIDES)
    def commit_some(self, side: int) -> None:
        """A batch comes to the disk."""
        self.sites[side].commit()

    @rule()
    @precondition(lambda self: self.line is None)
    def link(self) -> None:
        """One dials the other, and they know each other."""
        self.line = Line(*self.sites)
        for _ in range(2):
            self.line.deliver(0)
            self.line.deliver(1)

    @rule()
    @precondition(lambda self: self.line is not None)
    def cut(self) -> None:
        """The link is lost."""
        assert self.line is not None
        self.line.cut()
        self.line = None

    @rule(side=SIDES, written=st.booleans())
    def kill(self, side: int, written: bool) -> None:
        """A broker is killed, before or after its batch has come to the disk."""
        line, self.line = self.line, None
        self.sites[side].kill(written)
        self.waiting.pop(side, None)  # nobody was told that it is stored
        if line is not None:
            line.cut(self.sites[side])

    def teardown(self) -> None:
        """In the end all of it is there."""
        for side in (0, 1):
            self.commit(side)
        if self.line is not None:
            self.cut()
        settle(*self.sites)
        for side, site in enumerate(self.sites):
            there = self.sites[1 - side]
            assert site.peer.queue.waiting == 0
            arrived = [frame.body for frame in there.take_all(QUEUE)]
            assert len(arrived) == len(set(arrived)), arrived
            assert {body for _, body in self.sent[side] if body in self.stored} <= set(arrived)
            for priority in "49":
                of = [body for each, body in self.sent[side] if each == priority]
                in_order = sorted((body for body in arrived if body in of), key=of.index)
                assert [body for body in arrived if body in of] == in_order


TestLink = Link.TestCase
TestLink.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
