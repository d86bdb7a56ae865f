"""Message groups: what belongs together goes to one consumer, in order, as long as it is there."""

from __future__ import annotations

import threading

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import DEADLINE, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    acknowledgement,
    bodies,
    drain,
    expect_error,
    is_served,
    put,
    subscribe,
    take,
)

FIRST = "JMSXGroupFirstForConsumer"


def one_by_one(prefetch: int = 1) -> dict[str, str]:
    """Return the headers of a consumer that holds so many messages at once."""
    return {"ack": "client-individual", "activemq.prefetchSize": str(prefetch)}


def put_group(client: Client, queue: str, group: str, *names: bytes, seq: int = 0) -> None:
    """Send messages of a group; `seq` -1 closes it with the last one."""
    *most, last = names
    put(client, queue, *most, JMSXGroupID=group)
    put(client, queue, last, JMSXGroupID=group, **({"JMSXGroupSeq": str(seq)} if seq else {}))


def answer(client: Client, message: Frame) -> None:
    """Acknowledge a message without waiting."""
    client.send("ACK", **acknowledgement(client, message))


def test_a_group_stays_with_its_consumer(connect: Connect, version: str, queue: str) -> None:
    """Whatever comes for other groups in between, and however many consumers there are."""
    clients = [connect(version) for _ in range(3)]
    for client in clients:
        subscribe(client, queue)
    sender = connect(version)
    for number in range(10):
        for group in ("a", "b", "c"):
            put_group(sender, queue, group, f"{group}{number}".encode())
    found = [bodies(take(client, 10)) for client in clients]
    for group in ("a", "b", "c"):
        assert [f"{group}{number}".encode() for number in range(10)] in found


def test_its_consumer_is_waited_for(connect: Connect, version: str, queue: str) -> None:
    """Even if it is busy and another one is idle: that is what a group is for."""
    busy, idle = connect(version), connect(version)
    subscribe(busy, queue, **one_by_one())
    sender = connect(version)
    put_group(sender, queue, "a", b"1", b"2", b"3")
    subscribe(idle, queue)
    [one] = take(busy, 1)
    assert is_served(idle)
    answer(busy, one)
    [two] = take(busy, 1)
    assert (one.body, two.body) == (b"1", b"2")
    put(sender, queue, b"single")
    assert bodies(take(idle, 1)) == [b"single"]


def test_messages_say_their_group_and_the_first_one_that_it_is_new(
    connect: Connect, version: str, queue: str
) -> None:
    """So that a consumer can load what it needs for the group."""
    client = connect(version)
    subscribe(client, queue)
    put_group(connect(version), queue, "a", b"1", b"2")
    put_group(connect(version), queue, "b", b"3")
    put(connect(version), queue, b"4")
    found = take(client, 4)
    assert [frame.headers.get("JMSXGroupID") for frame in found] == ["a", "a", "b", None]
    assert [frame.headers.get(FIRST) for frame in found] == ["true", None, "true", None]


def test_a_group_is_closed_with_its_last_message(
    connect: Connect, version: str, queue: str
) -> None:
    """JMSXGroupSeq:-1: whoever comes first gets the next one of this name."""
    one, two = connect(version), connect(version)
    subscribe(one, queue, **one_by_one(3))
    sender = connect(version)
    put_group(sender, queue, "a", b"1", b"2", b"3", seq=-1)
    subscribe(two, queue)
    put_group(sender, queue, "a", b"4")
    found = take(one, 3)
    assert [frame.headers.get("JMSXGroupSeq") for frame in found] == [None, None, "-1"]
    [message] = take(two, 1)
    assert (message.body, message.headers[FIRST]) == (b"4", "true")
    assert is_served(one)


def test_what_waits_behind_the_last_message_of_a_group(
    connect: Connect, version: str, queue: str
) -> None:
    """It was not for the other consumer when it came; now that the group is closed it is."""
    busy, idle = connect(version), connect(version)
    subscribe(busy, queue, **one_by_one())
    sender = connect(version)
    put_group(sender, queue, "a", b"1")
    subscribe(idle, queue)
    put_group(sender, queue, "a", b"2", b"3", seq=-1)
    put_group(sender, queue, "a", b"4", b"5")
    assert is_served(idle)
    for number in (b"1", b"2"):
        [message] = take(busy, 1)
        assert message.body == number
        answer(busy, message)
    assert bodies(take(busy, 1)) == [b"3"]
    found = take(idle, 2)
    assert bodies(found) == [b"4", b"5"]
    assert [frame.headers.get(FIRST) for frame in found] == ["true", None]


@pytest.mark.parametrize("how", ["hang up", "DISCONNECT", "UNSUBSCRIBE"])
def test_a_consumer_that_goes_leaves_its_groups(
    connect: Connect, later_version: str, queue: str, how: str
) -> None:
    """To the others, in order, from the first message that it had not acknowledged."""
    one, two = connect(later_version), connect(later_version)
    subscribe(one, queue, **one_by_one(3))
    put_group(connect(later_version), queue, "a", *[b"%d" % number for number in range(6)])
    subscribe(two, queue)
    first, *_ = take(one, 3)
    answer(one, first)
    take(one, 1)
    if how == "hang up":
        one.close()
    elif how == "DISCONNECT":
        one.send("DISCONNECT")
    else:
        one.send("UNSUBSCRIBE", id_="s")
    found = take(two, 5)
    assert bodies(found) == [b"1", b"2", b"3", b"4", b"5"]
    assert [frame.headers.get(FIRST) for frame in found] == ["true", *[None] * 4]
    assert [frame.headers.get("redelivered") for frame in found] == ["true"] * 3 + [None] * 2


def test_groups_are_shared_out(connect: Connect, version: str, queue: str) -> None:
    """New groups go to the consumers in turn."""
    clients = [connect(version) for _ in range(4)]
    for client in clients:
        subscribe(client, queue)
    sender = connect(version)
    for group in range(8):
        put_group(sender, queue, str(group), b"%d" % group)
    assert sorted(body for client in clients for body in bodies(take(client, 2))) == [
        b"%d" % group for group in range(8)
    ]


def consume(clients: list[Client], sender: Client, queue: str, count: int) -> list[list[Frame]]:
    """Let clients with a prefetch of some messages consume side by side; return what each of them got."""
    got: list[list[Frame]] = [[] for _ in clients]
    done = threading.Event()

    def work(client: Client, mine: list[Frame]) -> None:
        while (message := client.expect("MESSAGE")).headers["subscription"] == "s":
            mine.append(message)
            answer(client, message)
            if sum(map(len, got)) >= count:
                done.set()

    workers = []
    for number, client in enumerate(clients):
        subscribe(client, f"{queue}.end.{number}", id="end")
        client.send("SUBSCRIBE", destination=queue, id_="s", **one_by_one(5))
        workers.append(threading.Thread(target=work, args=(client, got[number])))
    for worker in workers:
        worker.start()
    assert done.wait(DEADLINE)
    for number, worker in enumerate(workers):
        put(sender, f"{queue}.end.{number}", b"end")
        worker.join()
    return got


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_with_a_backlog(connect: Connect, version: str, queue: str, persistent: str) -> None:
    """Groups that waited, in the store too, are shared out like new ones; each in order, at one consumer."""
    sender = connect(version)
    data = [
        f"SEND\ndestination:{queue}\nJMSXGroupID:g{number % 10}\npersistent:{persistent}\n\n{number}\0"
        for number in range(2000)
    ]
    sender.write("".join(data).encode())
    assert is_served(sender)
    got = consume([connect(version) for _ in range(3)], sender, queue, 2000)
    owners = [{frame.headers["JMSXGroupID"] for frame in mine} for mine in got]
    assert sum(map(len, owners)) == 10
    assert len([groups for groups in owners if groups]) > 1
    for mine, groups in zip(got, owners, strict=True):
        for group in groups:
            numbers = [int(f.body) for f in mine if f.headers["JMSXGroupID"] == group]
            assert numbers == [*range(int(group[1:]), 2000, 10)]
        assert len([frame for frame in mine if FIRST in frame.headers]) == len(groups)


def test_many_small_groups_that_are_closed(connect: Connect, version: str, queue: str) -> None:
    """Every one of them is at one consumer, in order, and none is left over."""
    sender = connect(version)
    for number in range(300):
        lines = f"SEND\ndestination:{queue}\nJMSXGroupID:{number}\n"
        sender.write(f"{lines}\n1\0{lines}\n2\0{lines}JMSXGroupSeq:-1\n\n3\0".encode())
    assert is_served(sender)
    got = consume([connect(version) for _ in range(3)], sender, queue, 900)
    seen: dict[str, list[bytes]] = {}
    for mine in got:
        for frame in mine:
            group = frame.headers["JMSXGroupID"]
            assert group not in seen or seen[group][-1] != b"3"
            seen.setdefault(group, []).append(frame.body)
    assert len(seen) == 300
    assert all(found == [b"1", b"2", b"3"] for found in seen.values())


@pytest.mark.parametrize("version", ["1.0", "1.2"], indirect=True)
def test_after_a_restart_groups_are_free_and_still_groups(
    connect: Connect, start_broker: StartBroker, version: str, queue: str
) -> None:
    """What a group is was stored with its messages; who had it was not."""
    broker = start_broker()
    sender = connect(version, to=broker)
    put_group(sender, queue, "a", b"a1", b"a2", b"a3")
    put_group(sender, queue, "b", b"b1", b"b2", b"b3", seq=-1)
    broker.kill()
    broker = start_broker(broker.store)
    one, two = connect(version, to=broker), connect(version, to=broker)
    subscribe(one, queue, **one_by_one())
    subscribe(two, queue, **one_by_one())
    found: dict[str, list[bytes]] = {}
    firsts = []
    for client in (one, two):
        for _ in range(3):
            [message] = take(client, 1)
            found.setdefault(message.headers["JMSXGroupID"], []).append(message.body)
            firsts.append(message.headers.get(FIRST))
            answer(client, message)
    assert found == {"a": [b"a1", b"a2", b"a3"], "b": [b"b1", b"b2", b"b3"]}
    assert firsts == ["true", None, None] * 2


def test_with_selectors(connect: Connect, version: str, queue: str) -> None:
    """A group goes to somebody who wants its first message, and what that one does not want waits for it."""
    picky, plain = connect(version), connect(version)
    subscribe(picky, queue, selector="kind = 'x'")
    sender = connect(version)
    put(sender, queue, b"1", JMSXGroupID="a", kind="x")
    assert bodies(take(picky, 1)) == [b"1"]
    subscribe(plain, queue)
    put(sender, queue, b"2", JMSXGroupID="a", kind="x")
    put(sender, queue, b"3", JMSXGroupID="a", kind="y")
    put(sender, queue, b"4", JMSXGroupID="b", kind="y")
    assert bodies(take(picky, 1)) == [b"2"]
    assert bodies(take(plain, 1)) == [b"4"]
    picky.close()
    assert bodies(take(plain, 1)) == [b"3"]


def test_a_group_by_its_name_in_a_selector(connect: Connect, version: str, queue: str) -> None:
    """Consumers may share groups out among themselves."""
    one, two = connect(version), connect(version)
    subscribe(one, queue, selector="JMSXGroupID = 'a'")
    subscribe(two, queue, selector="JMSXGroupID <> 'a'")
    sender = connect(version)
    for group in ("b", "a", "c"):
        put_group(sender, queue, group, group.encode())
    assert bodies(take(one, 1)) == [b"a"]
    assert bodies(take(two, 2)) == [b"b", b"c"]


def test_a_refused_message_of_a_group(connect: Connect, later_version: str, queue: str) -> None:
    """It comes back to the same consumer, before the rest of its group."""
    one, two = connect(later_version), connect(later_version)
    subscribe(one, queue, **one_by_one())
    put_group(connect(later_version), queue, "a", b"1", b"2")
    subscribe(two, queue)
    [message] = take(one, 1)
    one.send("NACK", **acknowledgement(one, message), requeue="true")
    for number in (b"1", b"2"):
        [message] = take(one, 1)
        assert message.body == number
        answer(one, message)
    assert is_served(two)


def test_names_of_groups(connect: Connect, version: str, queue: str) -> None:
    """Long ones, and ones that differ only at the end, are different groups; empty is none."""
    long = "x" * 5000
    one, two = connect(version), connect(version)
    subscribe(one, queue)
    subscribe(two, queue)
    sender = connect(version)
    for _ in range(3):
        put_group(sender, queue, long + "1", b"1")
        put_group(sender, queue, long + "2", b"2")
    assert bodies(take(one, 3)) == [b"1"] * 3
    assert bodies(take(two, 3)) == [b"2"] * 3
    put(sender, queue, b"a", b"b", JMSXGroupID="")
    assert sorted(bodies(take(one, 1)) + bodies(take(two, 1))) == [b"a", b"b"]


def test_a_seq_that_is_no_number(connect: Connect, version: str, queue: str) -> None:
    """ERROR, and nothing was sent."""
    client = connect(version)
    refused = client.ask("SEND", destination=queue, JMSXGroupID="a", JMSXGroupSeq="last")
    expect_error(refused, "JMSXGroupSeq")
    assert is_served(client)
    assert drain(connect(version), queue) == []


def test_topics_have_no_groups(connect: Connect, version: str, topic: str) -> None:
    """Everybody gets everything there."""
    one, two = connect(version), connect(version)
    for client in (one, two):
        subscribe(client, topic)
    put_group(connect(version), topic, "a", b"1", b"2")
    for client in (one, two):
        assert bodies(take(client, 2)) == [b"1", b"2"]
