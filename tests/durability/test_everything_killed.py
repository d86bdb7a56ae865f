"""Killed under load with everything in play, the broker keeps every promise it made.

Durable subscriptions of all kinds, scheduled messages, dead letters, dedup-ids, groups, selectors, requests: all of
it goes on at the same time with one broker, which is killed again and again, and now and then stopped in order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from broker.core.dedup import STORED_AS as DEDUP
from broker.store import StoreSettings, open_store
from tests.conftest import StartBroker
from tests.durability.conftest import Trouble
from tests.durability.crowd import Member, Scene, kill_it
from tests.durability.ledger import ACK, KILL, LATER, NACK, RETURN, Ledger, Place, Sent
from tests.durability.movers import FROM, Mover, Sender, drain_durable, drain_queue
from tests.durability.troupe import (
    DEAD_LETTERS,
    RED,
    Asker,
    Author,
    Drain,
    Reader,
    Replier,
    Undertaker,
    Wish,
    send_end,
    subscribe,
)
from tests.durability.verdicts import judge, judge_moves
from tests.durability.ways import STORES, choose_seed
from tests.harness import BrokerProcess

NEWS, MORE_NEWS, ALL_NEWS = "/topic/news.a", "/topic/news.b", "/topic/news.>"
WORK, ORDERS, LATE, GROUPS = "/queue/work", "/queue/orders", "/queue/late", "/queue/groups"
COLOURS = (RED, "green", "blue")
LONGEST = 3000  # milliseconds until anything scheduled comes first
AFTER_ALL = LONGEST + 4 * 400 + 500  # and until nothing comes any more
NAMED = "activemq.subscriptionName"


def news(chance: random.Random, sent: Sent) -> Sent:
    """Write to both topics, in some colour."""
    destination = chance.choice((NEWS, NEWS, MORE_NEWS))
    fate = NACK if sent.number % 23 == 0 else ACK
    return replace(sent, destination=destination, colour=chance.choice(COLOURS), fate=fate)


def safe_news(chance: random.Random, sent: Sent) -> Sent:
    """Write to a topic, again until it is confirmed."""
    return replace(news(chance, sent), dedup=True)


def orders(chance: random.Random, sent: Sent) -> Sent:
    """Write to a queue, again until it is confirmed."""
    return replace(sent, destination=ORDERS, dedup=True)


def late(chance: random.Random, sent: Sent) -> Sent:
    """Write what is delivered later: to a queue, once or several times, or to a topic."""
    sent = replace(sent, dedup=True, delay=chance.randint(100, LONGEST), destination=LATE)
    if sent.number % 5 == 0:
        return replace(sent, destination=NEWS, colour=chance.choice(COLOURS))
    if sent.number % 5 == 1:
        return replace(sent, period=chance.randint(50, 400), repeat=chance.randint(1, 4))
    return sent


def work(chance: random.Random, sent: Sent) -> Sent:
    """Write what is not always easy to consume."""
    fate = chance.choices((ACK, NACK, RETURN, LATER, KILL), (60, 15, 11, 11, 3))[0]
    return replace(sent, destination=WORK, fate=fate)


def grouped(chance: random.Random, sent: Sent) -> Sent:
    """Write to one of several groups, or in a colour."""
    sent = replace(sent, destination=GROUPS)
    if chance.random() < 0.5:
        return replace(sent, group=f"group {chance.randint(1, 10)}")
    return replace(sent, colour=chance.choice(COLOURS))


def durable(name: str, topic: str = NEWS, **more: object) -> Wish:
    """Return how a durable subscription is subscribed to."""
    wish = Wish(topic, name, {NAMED: name}, client_id=f"client of {name}")
    return replace(wish, **more)  # type: ignore[arg-type]


STEADY = durable("steady", cumulative=3)
CHOOSY = durable("choosy", colour=RED, refuses=True)
GUEST = durable("guest", stays=40)
PATTERN = durable("pattern", ALL_NEWS, prefetch=100)
ABSENT = durable("absent", prefetch=100)
SHARED = Wish(NEWS, "shared", {"durable": "true", "id": "shared"}, prefetch=10)


def places() -> list[Place]:
    """Return where messages wait, and what is expected there."""

    def to(*destinations: str) -> Callable[[Sent], bool]:
        return lambda sent: sent.destination in destinations

    return [
        Place("steady", to(NEWS)),
        Place("choosy", lambda sent: sent.destination == NEWS and sent.colour == RED),
        Place("guest", to(NEWS)),
        Place("pattern", to(NEWS, MORE_NEWS)),
        Place("absent", to(NEWS)),
        Place("shared", to(NEWS), alone=False),
        Place(ORDERS, to(ORDERS), alone=False),
        Place(LATE, to(LATE), alone=False),
        Place(WORK, to(WORK), ordered=False, alone=False),
        Place(GROUPS, to(GROUPS), alone=False),
    ]


READERS = (
    (STEADY, 1),
    (CHOOSY, 1),
    (GUEST, 1),
    (PATTERN, 1),
    (SHARED, 2),
    (Wish(ORDERS, ORDERS), 2),
    (Wish(LATE, LATE), 2),
    (Wish(WORK, WORK, refuses=True), 2),
    (Wish(GROUPS, GROUPS), 2),
    (Wish(GROUPS, GROUPS, colour=RED), 1),
)
DURABLE = (STEADY, CHOOSY, GUEST, PATTERN, ABSENT, SHARED)
AUTHORS = (
    ("news", news),
    ("safe", safe_news),
    ("orders", orders),
    ("late", late),
    ("work", work),
    ("groups", grouped),
)
WITHOUT_RECEIPT = (5, 20, 50)  # SENDs of one author at a time
PREFETCH = (1, 20, 20, 100)


def run_everything(
    start: Callable[[], BrokerProcess], trouble: Trouble, seed: int, rounds: int, most: int
) -> Ledger:
    """Let everything go on while the broker is ended in `rounds` of four ways; return what happened, drained."""
    ledger, scene = Ledger(places()), Scene(start)
    make_durable(scene.broker, *DURABLE)
    chance = random.Random(seed)
    members: list[Member] = [
        Author(scene, ledger, name, chance.choice(WITHOUT_RECEIPT), write, seed)
        for name, write in AUTHORS
    ]
    for wish, number in READERS:
        wish = replace(wish, prefetch=max(wish.cumulative, chance.choice(PREFETCH)))
        members += [
            Reader(scene, ledger, f"reader {n} of {wish.place}, {wish.colour}", wish, seed)
            for n in range(number)
        ]
    members += [Asker(scene, ledger, f"asker {n}") for n in range(2)]
    members += [Replier(scene, "replier")]

    def stop_it(broker: BrokerProcess) -> int:
        ledger.stopped.add(scene.life)
        status = broker.stop()
        assert status == 0
        return status

    run(scene, members, [stop_it, *kills(trouble)] * rounds, chance, most)
    drain(scene, ledger, seed)
    return ledger


def make_durable(broker: BrokerProcess, *wishes: Wish) -> None:
    """Subscribe, and go: from now on messages are kept."""
    for wish in wishes:
        with broker.connect(**wish.login) as client:
            subscribe(client, wish)
            client.ask("DISCONNECT")


def run(
    scene: Scene,
    members: Sequence[Member],
    ends: Sequence[Callable[[BrokerProcess], int]],
    chance: random.Random,
    most: int,
) -> None:
    """Let everybody work, and end the broker in all these ways, each after at most so much progress."""
    for member in members:
        member.start()
    for number, end in enumerate(ends, 1):
        scene.await_progress(chance.randint(1, most) if chance.random() < 0.8 else 0)
        scene.end(number == len(ends), end)
    for member in members:
        member.finish()


def kills(trouble: Trouble) -> list[Callable[[BrokerProcess], int]]:
    """Return the moments to kill a broker: any, when it is about to write, and when nobody was told yet."""
    return [
        kill_it,
        partial(kill_writing, trouble, "gate"),
        partial(kill_writing, trouble, "gate-after"),
    ]


def kill_writing(trouble: Trouble, gate: str, broker: BrokerProcess) -> int:
    """End a broker while a write waits at a gate."""
    trouble.close_gate(gate)
    trouble.await_write()
    status = kill_it(broker)
    trouble.remove_gate(gate)
    return status


def drain(scene: Scene, ledger: Ledger, seed: int) -> None:
    """Wait for all that is scheduled, take all there is, and at last the dead letters."""
    wishes = {wish.place: wish for wish, _ in READERS if not wish.colour or wish is CHOOSY}
    wishes[ABSENT.place] = ABSENT
    drains = {
        place: Drain(scene, ledger, f"drain of {place}", replace(wish, stays=0), seed)
        for place, wish in wishes.items()
    }
    for each in drains.values():
        each.start()
    with scene.broker.connect() as client:
        send_end(client, LATE, AMQ_SCHEDULED_DELAY=str(AFTER_ALL))
        drains.pop(LATE).finish()
        for destination in (NEWS, ORDERS, WORK, GROUPS):
            send_end(client, destination)
        for each in drains.values():
            each.finish()
        send_end(client, DEAD_LETTERS)
    undertaker = Undertaker(scene, ledger, {WORK: WORK, NEWS: CHOOSY.place}, seed)
    undertaker.start()
    undertaker.finish()
    with scene.broker.connect() as client:
        for _ in range(
            20 + len(ledger.sent) // 500
        ):  # what is far back is deleted in goes, one a turn
            assert client.silent()
    assert scene.broker.stop() == 0


@pytest.mark.parametrize("store", STORES)
def test_with_everything_in_play(
    store: str, start_broker: StartBroker, trouble: Trouble, tmp_path: Path
) -> None:
    """Nothing is lost that was confirmed, nothing comes again that was ended, nothing twice but marked."""
    kill_and_judge(store, start_broker, trouble, tmp_path, rounds=3, most=2000)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", STORES)
def test_for_long_with_everything_in_play(
    store: str, start_broker: StartBroker, trouble: Trouble, tmp_path: Path
) -> None:
    """The same with longer lives, in which backlogs outgrow the memory of a queue."""
    kill_and_judge(store, start_broker, trouble, tmp_path, rounds=8, most=10_000)


def kill_and_judge(
    store: str,
    start_broker: StartBroker,
    trouble: Trouble,
    tmp_path: Path,
    rounds: int,
    most: int,
) -> None:
    """Run, and fail with what is wrong."""
    seed, url = choose_seed(), f"trouble:{STORES[store].format(tmp_path)}"
    ledger = run_everything(lambda: start_broker(url), trouble, seed, rounds, most)
    print(ledger.summary())
    faults = [*judge(ledger), *left_over(STORES[store].format(tmp_path))]
    if faults:
        kept = tmp_path / "ledger.jsonl"
        ledger.save(kept)
        pytest.fail(
            "\n".join([f"{len(faults)} faults; HOOFBEAT_SEED={seed}, {kept}", *faults[:20]])
        )


def left_over(url: str) -> list[str]:
    """Return what a store still holds after everything was taken, but for the ids that came before."""
    store = open_store(url, StoreSettings())
    records = {queue.name: sum(queue.lanes.values()) for queue in store.load().queues}
    store.close()
    return [
        f"{number} records of {name!r} are left over"
        for name, number in records.items()
        if number and not name.startswith(DEDUP)
    ]


FIRST = durable("first", FROM)
SECOND = durable("second", FROM, cumulative=1)
ARCHIVE = durable("archive", "/topic/to")


@pytest.mark.parametrize("store", STORES)
def test_transactions_with_durable_subscriptions(
    store: str, start_broker: StartBroker, trouble: Trouble, tmp_path: Path
) -> None:
    """A message moved on is at its new place or still in the subscription, never in both or neither."""
    seed = choose_seed()
    url = f"trouble:{STORES[store].format(tmp_path)}"
    scene = Scene(lambda: start_broker(url))
    make_durable(scene.broker, FIRST, SECOND, ARCHIVE)
    senders = [Sender(scene, f"sender {n}", seed) for n in range(2)]
    first = Mover(scene, FIRST, ARCHIVE.destination, seed)
    second = Mover(scene, SECOND, "/queue/to", seed)
    run(scene, [*senders, first, second], kills(trouble) * 2, random.Random(seed), most=500)

    sizes = {name: size for sender in senders for name, size in sender.sizes.items()}
    confirmed = set().union(*(sender.confirmed for sender in senders))
    stayed, moved = [*drain_durable(scene.broker, FIRST)], [*drain_durable(scene.broker, ARCHIVE)]
    stayed_2, moved_2 = (
        [*drain_durable(scene.broker, SECOND, ended=True)],  # of the same topic
        [*drain_queue(scene.broker, "/queue/to")],
    )
    print(f"{len(sizes)} transactions, {len(stayed)} and {len(stayed_2)} stayed,", end=" ")
    print(f"{len(moved)} and {len(moved_2)} moved")
    assert judge_moves(sizes, confirmed, first.confirmed, stayed, moved) == []
    assert judge_moves(sizes, confirmed, second.confirmed, stayed_2, moved_2) == []
    assert {*stayed, *moved} == {*stayed_2, *moved_2}
