"""What became of messages: parts, found by an id, through the store and back."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from broker.core import tracking as module
from broker.core.reports import ENDS, EXPIRED, FAILED, PROCESSED, QUEUED, SENT
from broker.core.tracking import FIRST, MOST_PARTS, SAID_BYTES, Part, Tracking, summary
from tests.core.house import House

KEEP = 1000  # milliseconds that ends are known in these tests

_numbers = count(1)


@pytest.fixture
def house() -> House:
    return new_house()


def new_house(before: House | None = None, most: int = 1_000_000) -> House:
    """Return a house, on the store of one before it."""
    house = House(before.store if before else None)
    house.broker.track_for, house.broker.track_most = KEEP, most
    house.broker.now = before.broker.now if before else 1
    return house


def add(house: House, id: str = "c-1", destination: str = "/queue/a", durable: bool = True) -> Part:
    """Track one more message."""
    part = house.broker.tracking.add(
        *(id, "me", destination, f"m-{next(_numbers)}", "/queue/r", ["processed"], 7, durable, True)
    )
    assert part is not None
    return part


def copies(house: House, *destinations: str) -> list[Part]:
    """Track the copies of one message."""
    message_id = f"m-{next(_numbers)}"
    found = [
        house.broker.tracking.add("c-1", "me", to, message_id, "", ["failed"], 7, True, False)
        for to in destinations
    ]
    return [part for part in found if part is not None]


def end(house: House, *parts: Part, status: str = PROCESSED) -> None:
    for part in parts:
        assert house.broker.tracking.change(part, status)


def statuses(house: House, id: str = "c-1") -> list[str]:
    return [part.status for part in house.broker.tracking.find(id)]


def pass_time(house: House, milliseconds: int) -> None:
    """Let time pass, and whatever is over be forgotten."""
    house.broker.now += milliseconds
    house.settle()
    house.broker.tracking.sweep()
    house.settle()


def records(house: House) -> int:
    """Return how many records there are of messages, and of their ends."""
    routes = house.broker.routes
    queues = map(routes.known_hidden, (module.STORED_AS, module.ENDED_AS))
    return sum(len(house.store.read(number, 4, -1, 1 << 30, 1 << 30)) for number in queues)


def test_everything_about_a_message_is_known_after_a_restart(house: House) -> None:
    part = add(house)
    house.broker.now = 50
    house.broker.tracking.change(part, FAILED, "worker-7", "no such customer")
    house.settle()
    [found] = new_house(house).broker.tracking.find("c-1")
    assert (found.id, found.owner, found.destination) == ("c-1", "me", "/queue/a")
    assert (found.reply_to, found.kinds, found.sent) == ("/queue/r", ["processed"], 7)
    assert (found.message_id, found.durable) == (part.message_id, True)
    assert (found.status, found.changed, found.ended) == (FAILED, 50, True)
    assert (found.by, found.cause) == ("worker-7", "no such customer")


@pytest.mark.parametrize("written", [False, True])
def test_an_end_is_the_end(house: House, written: bool) -> None:
    """Nothing follows it, and nothing happens twice."""
    tracking, part = house.broker.tracking, add(house)
    assert statuses(house) == [QUEUED]
    assert tracking.change(part, SENT)
    if written:
        house.settle()
    assert not tracking.change(part, SENT)
    assert tracking.change(part, PROCESSED, "me")
    for status in (QUEUED, SENT, PROCESSED, FAILED, EXPIRED):
        assert not tracking.change(part, status)
    assert statuses(house) == [PROCESSED]
    house.settle()
    assert statuses(new_house(house)) == [PROCESSED]


def test_several_messages_may_have_one_id(house: House) -> None:
    for number in range(200):
        add(house, destination=f"/queue/{number}")
        if number % 50 == 0:
            house.settle()
    add(house, "c-2")
    found = house.broker.tracking.find("c-1")
    assert [part.destination for part in found] == [f"/queue/{number}" for number in range(200)]
    assert len(house.broker.tracking.find("c-2")) == 1
    assert house.broker.tracking.find("c-3") == []


def test_an_id_has_so_many_parts_and_then_those_that_are_free_again(house: House) -> None:
    tracking = house.broker.tracking
    parts = [add(house) for _ in range(MOST_PARTS)]
    house.settle()
    assert tracking.has_room("c-2", MOST_PARTS)
    assert not tracking.has_room("c-1", 1)
    assert tracking.add("c-1", "me", "/queue/a", "m", "", [], 7, True, True) is None
    end(house, *parts[:3])
    pass_time(house, KEEP)
    assert tracking.has_room("c-1", 3)
    assert not tracking.has_room("c-1", 4)
    assert [add(house).number for _ in range(3)] == [part.number for part in parts[:3]]
    house.settle()
    assert len(tracking.find("c-1")) == MOST_PARTS


def test_ids_that_share_a_place_are_told_apart(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "place_of", lambda id: FIRST)
    first, second = add(house, "c-1"), add(house, "c-2")
    house.settle()
    third = add(house, "c-1")
    end(house, first, second)
    assert statuses(house) == [PROCESSED, QUEUED]
    pass_time(house, KEEP)
    assert [part.number for part in house.broker.tracking.find("c-1")] == [third.number]
    assert statuses(house, "c-2") == []


def test_what_has_ended_is_forgotten_after_a_while_and_nothing_is_left_of_it(house: House) -> None:
    """Also when the broker was started anew in between."""
    end(house, add(house))
    pass_time(house, KEEP - 1)
    assert statuses(house) == [PROCESSED]
    house = new_house(house)
    assert statuses(house) == [PROCESSED]
    pass_time(house, 1)
    assert statuses(house) == []
    assert records(house) == 0


def test_what_has_not_ended_is_never_forgotten(house: House) -> None:
    add(house)
    pass_time(house, 100 * KEEP)
    assert statuses(house) == [QUEUED]


def test_the_copies_of_a_message_are_forgotten_together(house: House) -> None:
    """Not before the last one of them has been over for a while: their status is that of all."""
    first, second = copies(house, "/queue/a", "/queue/b")
    alone = add(house)
    end(house, first, status=FAILED)
    end(house, alone)
    pass_time(house, KEEP)
    assert statuses(house) == [FAILED, QUEUED]
    end(house, second)
    pass_time(house, KEEP - 1)
    assert statuses(house) == [FAILED, PROCESSED]
    pass_time(house, KEEP)
    assert statuses(house) == []
    pass_time(house, KEEP)
    assert records(house) == 0


def test_of_very_many_that_have_ended_the_oldest_are_forgotten_at_once() -> None:
    house = new_house(most=3)
    waits = add(house, "waits")
    for number in range(5):
        house.broker.now += 1
        end(house, add(house, f"c-{number}"))
    pass_time(house, 0)
    known = [number for number in range(5) if statuses(house, f"c-{number}")]
    assert known == [2, 3, 4]
    assert statuses(house, "waits") == [waits.status] == [QUEUED]


def test_what_is_not_stored_is_forgotten_without_an_end(house: House) -> None:
    """A restart has lost it, and nobody will tell; and what becomes of it later harms nothing."""
    tracking, part = house.broker.tracking, add(house, durable=False)
    house.settle()
    assert statuses(new_house(house)) == [QUEUED]
    pass_time(house, KEEP)
    assert statuses(house) == []
    tracking._taken.clear()  # as if many others had been tracked since
    other = add(house)
    assert other.number == part.number
    assert not tracking.change(part, PROCESSED)
    tracking.forget(part)
    pass_time(house, KEEP)
    assert statuses(house) == [QUEUED]


def test_what_is_stored_decides_over_what_a_message_remembers(house: House) -> None:
    """Another broker may have told that it has ended, before we hear that it has got there."""
    tracking, part = house.broker.tracking, add(house)
    house.settle()
    tracking.sweep()
    [stored] = tracking.find("c-1")
    assert tracking.change(stored, PROCESSED)
    assert not tracking.change(part, SENT)
    house.settle()
    assert statuses(new_house(house)) == [PROCESSED]


def test_what_is_forgotten_and_tracked_anew_in_one_batch_is_there(house: House) -> None:
    """As a message is that an administrator moves."""
    part = add(house)
    house.settle()
    house.broker.tracking.forget(part)
    moved = add(house, destination="/queue/b")
    assert statuses(house) == [QUEUED]
    house.settle()
    house = new_house(house)
    assert [each.destination for each in house.broker.tracking.find("c-1")] == ["/queue/b"]
    assert moved.number != part.number


def test_nothing_is_kept_in_memory_of_what_is_on_disk(house: House) -> None:
    tracking = house.broker.tracking
    for number in range(100):
        end(house, add(house, f"c-{number}"))
    assert tracking._fresh
    pass_time(house, 0)
    assert not tracking._fresh
    assert not tracking._stamps


def test_a_long_reason_is_cut(house: House) -> None:
    part = add(house)
    house.broker.tracking.change(part, FAILED, "w" * 300, "ü" * 300)
    house.settle()
    [found] = new_house(house).broker.tracking.find("c-1")
    assert found.by == "w" * (SAID_BYTES // 4)
    assert found.cause == "ü" * ((SAID_BYTES - len(found.by) - 1) // 2)


def test_page_by_page_all_are_shown(house: House) -> None:
    """Those on disk and those on the way there, each once."""
    for number in range(30):
        add(house, f"c-{number}")
        if number == 20:
            house.settle()
    house.broker.tracking.forget(house.broker.tracking.find("c-3")[0])
    ids, place = [], 0
    while page := house.broker.tracking.page(place, 7):
        ids += [part.id for part in page]
        place = page[-1].number
    assert sorted(ids) == sorted(f"c-{number}" for number in range(30) if number != 3)


@pytest.mark.parametrize(
    ("some", "all_of_them"),
    [
        ([QUEUED], QUEUED),
        ([PROCESSED, PROCESSED], PROCESSED),
        ([PROCESSED, SENT], SENT),
        ([PROCESSED, SENT, QUEUED], QUEUED),
        ([PROCESSED, EXPIRED, QUEUED], EXPIRED),
        ([EXPIRED, FAILED, PROCESSED], FAILED),
    ],
)
def test_the_status_of_all_is_no_better_than_the_worst(
    house: House, some: list[str], all_of_them: str
) -> None:
    parts = [add(house) for _ in some]
    for part, status in zip(parts, some, strict=True):
        house.broker.tracking.change(part, status)
    assert summary(parts) == all_of_them


# --- beside a model -------------------------------------------------------------------------------

IDS = ("a", "b", "c")


class Machine(RuleBasedStateMachine):
    """Random verbs, a disk that takes its time, kills; beside a dict of message-id → status."""

    def __init__(self) -> None:
        super().__init__()
        self.house = new_house()
        self.names = (f"m-{number:05}" for number in count(1))
        self.now: dict[str, tuple[str, str]] = {}  # message-id → id, status
        self.written: dict[str, tuple[str, str]] = {}  # the same on disk
        self.being_written: dict[str, tuple[str, str]] = {}
        self.held: dict[str, Part] = {}  # by messages in memory

    @property
    def tracking(self) -> Tracking:
        return self.house.broker.tracking

    @initialize(most=st.sampled_from([2, 1_000_000]))
    def begin(self, most: int) -> None:
        self.most = self.house.broker.track_most = most

    @rule(id=st.sampled_from(IDS), durable=st.sampled_from([True, True, False]))
    def add(self, id: str, durable: bool) -> None:
        message_id = next(self.names)
        had_room = self.tracking.has_room(id, 1)
        part = self.tracking.add(id, "", "/queue/a", message_id, "", [], 0, durable, True)
        assert (part is not None) == had_room
        if part is not None:
            self.now[message_id] = id, QUEUED
            self.held[message_id] = part

    @precondition(lambda self: self.now)
    @rule(data=st.data(), status=st.sampled_from([SENT, SENT, PROCESSED, FAILED]))
    def change(self, data: st.DataObject, status: str) -> None:
        message_id = data.draw(st.sampled_from(sorted(self.now)))
        id, before = self.now[message_id]
        changed = self.tracking.change(self.part(message_id), status)
        assert changed == (before not in ENDS and before != status)
        if changed:
            self.now[message_id] = id, status

    @precondition(lambda self: self.now)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        message_id = data.draw(st.sampled_from(sorted(self.now)))
        if self.now[message_id][1] not in ENDS:  # an administrator moves what waits
            self.tracking.forget(self.part(message_id))
            del self.now[message_id]

    @rule()
    def read_back(self) -> None:
        """The messages are only in the store."""
        self.held.clear()

    @precondition(lambda self: self.house.on_the_way is None)
    @rule()
    def begin_write(self) -> None:
        self.house.begin_write()
        self.being_written = dict(self.now)

    @precondition(lambda self: self.house.on_the_way is not None)
    @rule()
    def end_write(self) -> None:
        self.house.end_write()
        self.written = self.being_written

    @rule()
    def kill(self) -> None:
        self.house = new_house(self.house, self.most)
        self.now = dict(self.written)
        self.held.clear()

    @rule(milliseconds=st.sampled_from([1, KEEP // 2, KEEP]))
    def sweep(self, milliseconds: int) -> None:
        """What is over may be forgotten; what is not over never is."""
        now = self.house.broker.now + milliseconds
        self.house.broker.now = now
        before = {part.message_id: part for id in IDS for part in self.tracking.find(id)}
        self.tracking.sweep()
        self.house.go_on()
        left = {part.message_id for id in IDS for part in self.tracking.find(id)}
        for message_id in before.keys() - left:
            part = before[message_id]
            assert part.ended or not part.durable
            assert self.most == 2 or part.changed + KEEP <= now
            del self.now[message_id]

    def part(self, message_id: str) -> Part:
        """Return a part as its message has it, or finds it."""
        if message_id not in self.held:
            found = self.tracking.find(self.now[message_id][0])
            [self.held[message_id]] = [each for each in found if each.message_id == message_id]
        return self.held[message_id]

    @invariant()
    def is_as_the_model_says(self) -> None:
        found = {
            part.message_id: (id, part.status) for id in IDS for part in self.tracking.find(id)
        }
        assert found == self.now
        page = self.tracking.page(0, 1000)
        assert {part.message_id: (part.id, part.status) for part in page} == self.now

    def teardown(self) -> None:
        """Nothing is lost on the way to the disk, and nothing stays in memory."""
        if self.house.on_the_way is not None:
            self.house.end_write()
        self.house.settle()
        self.house.broker.nothing_to_write()
        self.tracking.sweep()
        assert not self.tracking._fresh
        self.is_as_the_model_says()
        self.house = new_house(self.house)
        self.is_as_the_model_says()


def test_random_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few numbers for each place, and a place that two ids share."""
    monkeypatch.setattr(module, "ORDINAL_BITS", 2)
    monkeypatch.setattr(module, "MOST_PARTS", 4)
    monkeypatch.setattr(module, "place_of", lambda id: FIRST + ((id == "c") << 2))
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
