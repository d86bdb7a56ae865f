"""What is wrong with a ledger: every promise of the broker, and the notes that would break it.

The run must have been drained: every place, at last the dead letters. What nobody heard is unknown, never
failed: an unconfirmed SEND may be there or not, an unconfirmed ACK or NACK may count or not. MESSAGEs do not
wait for the disk, so a message may have been seen that no disk ever had; sent again, it is another one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from tests.durability.ledger import (
    ACK_CONFIRMED,
    ACKED,
    ANSWERED,
    ASKED,
    BURIED,
    DELIVERED,
    KILL,
    LEFT,
    NACK_CONFIRMED,
    NACKED,
    RETURNED,
    Ledger,
    Name,
    Note,
    Place,
    of,
)

MOST_DEATHS = (
    7  # of consumers on one message: it comes, and comes again six times (max_redeliveries)
)
CLOCKS = (
    1000  # milliseconds by which the broker's clock, read once a turn, may be behind a client's
)

Check = Callable[[Ledger, Place, list[Note]], Iterator[str]]


def judge(ledger: Ledger) -> list[str]:
    """Return what is wrong; nothing if the broker kept its promises."""
    notes: dict[str, list[Note]] = defaultdict(list)
    for note in ledger.notes:
        if note.kind == LEFT or note.name in ledger.sent:
            notes[note.place].append(note)
    faults = [
        f"{place.name}: {fault}"
        for place in ledger.places.values()
        for check in CHECKS
        for fault in check(ledger, place, notes[place.name])
    ]
    return [*faults, *_never_sent(ledger), *_stored_twice(ledger), *_wrong_answers(ledger)]


def answer_to(name: Name) -> str:
    """Return what a request of this name is answered."""
    return f"answer to {name[0]} {name[1]}"


def _lost(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """What is on disk is delivered, as often as it wants, until it is acknowledged or a dead letter."""
    settled: dict[Name, set[str]] = defaultdict(set)
    for note in of(notes, ACKED, BURIED):
        settled[note.name].add(note.id)
    promised = ledger.promised()
    for name, sent in ledger.sent.items():
        if name in promised and place.takes(sent) and len(settled[name]) < sent.deliveries:
            yield f"lost: {name}, {len(settled[name])} of {sent.deliveries} deliveries"


def _unexpected(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """Only what was sent there, and what it wants, comes to a place; and to a consumer who chooses."""
    for note in of(notes, DELIVERED, BURIED):
        sent = ledger.sent[note.name]
        if not place.takes(sent):
            yield f"not meant for it: {note}"
        elif note.size != sent.size:
            yield f"not as it was sent, {sent.size} bytes: {note}"
        elif ledger.choosers.get(note.session, sent.colour) != sent.colour:
            yield f"not what its consumer wants: {note}"


def _repeated(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """It comes again only when its consumer has gone or gave it back, or in another life; and says so.

    A broker that stops sends one consumer away after the other: the last may get what the first had.
    """
    last: dict[str, Note] = {}
    left: set[int] = set()
    returned: set[tuple[int, str]] = set()
    for note in of(notes, DELIVERED, LEFT, RETURNED):
        if note.kind == LEFT:
            left.add(note.session)
        elif note.kind == RETURNED:
            returned.add((note.session, note.id))
        else:
            before = last.get(note.id)
            last[note.id] = note
            if before is None:
                continue
            given_back = before.session in left or (before.session, note.id) in returned
            returned.discard((before.session, note.id))
            given_back = given_back or note.life in ledger.stopped
            if before.life == note.life and not given_back:
                yield f"delivered twice in one life: {note}"
            elif not note.redelivered:
                yield f"delivered again without redelivered:true: {note}"


def _back_from_the_dead(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """An ACK or NACK that was confirmed is for ever."""
    ended: set[str] = set()
    for note in of(notes, ACK_CONFIRMED, NACK_CONFIRMED, DELIVERED):
        if note.kind != DELIVERED:
            ended.add(note.id)
        elif note.id in ended:
            yield f"ended with a receipt, yet delivered: {note}"


def _too_often(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """Not more deliveries of a job are confirmed than it was to have."""
    confirmed: dict[Name, set[str]] = defaultdict(set)
    for note in of(notes, ACK_CONFIRMED):
        confirmed[note.name].add(note.id)
    for name, ids in confirmed.items():
        if len(ids) > ledger.sent[name].deliveries:
            yield f"{len(ids)} deliveries of {ledger.sent[name]}: {sorted(ids)}"


def _disorder(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """A producer's messages come in the order it sent them, what is scheduled in the order it is due."""
    newest: dict[tuple[int, str], int] = {}
    newest_due: dict[int, int] = {}
    newest_first: dict[str, int] = {}
    seen: set[Name] = set()
    for note in of(notes, DELIVERED) if place.ordered else ():
        sent, (producer, number) = ledger.sent[note.name], note.name
        if sent.late:
            due = note.stamp + sent.delay
            if not sent.repeat and due < newest_due.get(note.session, 0):
                yield f"due before {newest_due[note.session]}, delivered after it: {note}"
            if not sent.repeat:
                newest_due[note.session] = due
            continue
        if number < newest.get((note.session, producer), -1):
            yield f"out of order behind {newest[note.session, producer]}: {note}"
        newest[note.session, producer] = number
        if place.alone and note.name not in seen:
            if number < newest_first.get(producer, -1):
                yield f"first delivered after {newest_first[producer]}: {note}"
            newest_first[producer] = number
        seen.add(note.name)


def _early(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """Nothing scheduled comes before its time, and no delivery of a job before its place on the grid.

    Time runs from the moment that the broker says it got the message. Only deliveries that were confirmed
    are counted on the grid: others may have been forgotten by a kill, and come again under another id.
    """
    confirmed = {note.id for note in of(notes, ACK_CONFIRMED)}
    counted: Counter[str] = Counter()
    first_seen: set[str] = set()
    for note in of(notes, DELIVERED):
        sent = ledger.sent[note.name]
        if not sent.late or note.id in first_seen:
            continue
        first_seen.add(note.id)
        if note.stamp < sent.at - CLOCKS:
            yield f"sent at {sent.at}, and says otherwise: {note}"
        due = note.stamp + sent.delay + sent.period * counted[note.job]
        if note.at < due:
            yield f"{due - note.at} ms early: {note}"
        if note.id in confirmed:
            counted[note.job] += 1


def _mixed_groups(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """In a life a group has one consumer, until that one leaves."""
    owners: dict[tuple[int, str], int] = {}
    left: set[int] = set()
    for note in of(notes, DELIVERED, LEFT):
        if note.kind == LEFT:
            left.add(note.session)
        elif group := ledger.sent[note.name].group:
            owner = owners.setdefault((note.life, group), note.session)
            if owner not in left | {note.session} and note.life not in ledger.stopped:
                yield f"group {group} is of session {owner}: {note}"
            owners[note.life, group] = note.session


def _dead_letters(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """What was refused is among the dead letters, once, and nowhere else; so is what kills its consumers."""
    buried = Counter(note.name for note in of(notes, BURIED))
    refused = {note.name for note in of(notes, NACKED)}
    tries = Counter(note.name for note in of(notes, DELIVERED))
    for name, number in buried.items():
        if number > 1:
            yield f"{number} dead letters of {name}"
        if ledger.sent[name].fate == KILL:
            if tries[name] < MOST_DEATHS:
                yield f"given up after {tries[name]} tries: {name}"
        elif name not in refused:
            yield f"a dead letter, and nobody refused it: {name}"
    for note in of(notes, ACK_CONFIRMED, NACK_CONFIRMED):
        if note.kind == ACK_CONFIRMED and note.name in buried:
            yield f"acknowledged, and a dead letter too: {note}"
        if note.kind == NACK_CONFIRMED and note.name not in buried:
            yield f"refused with a receipt, and no dead letter: {note}"


def _miscounted(ledger: Ledger, place: Place, notes: list[Note]) -> Iterator[str]:
    """No failure is counted that did not happen."""
    tries: Counter[str] = Counter()
    for note in of(notes, DELIVERED):
        if note.count > 1 + tries[note.id]:
            yield f"attempt {note.count}, after {tries[note.id]} deliveries: {note}"
        tries[note.id] += 1


CHECKS: tuple[Check, ...] = (
    _lost,
    _unexpected,
    _repeated,
    _back_from_the_dead,
    _too_often,
    _disorder,
    _early,
    _mixed_groups,
    _dead_letters,
    _miscounted,
)


def _never_sent(ledger: Ledger) -> Iterator[str]:
    for note in of(ledger.notes, DELIVERED, BURIED):
        if note.name not in ledger.sent:
            yield f"never sent, yet delivered: {note}"


def _stored_twice(ledger: Ledger) -> Iterator[str]:
    """A message that was sent once has one message-id; one that was tried again, since it is on disk.

    Before that a try may have been seen, lost by a kill, and tried again: but one of them in each life.
    """
    promised = ledger.promised()
    ids: dict[tuple[Name, int], dict[str, Note]] = defaultdict(dict)
    for note in of(ledger.notes, DELIVERED, BURIED):
        sent = ledger.sent.get(note.name)
        if sent is not None and not sent.repeat:
            kept = not sent.dedup or note.life >= promised.get(note.name, note.life + 1)
            ids[note.name, -1 if kept else note.life].setdefault(note.id, note)
    for (name, _), notes in ids.items():
        if len(notes) > 1:
            yield f"{name} is there {len(notes)} times: {list(notes.values())}"
    jobs: dict[Name, set[str]] = defaultdict(set)
    for note in of(ledger.notes, DELIVERED):
        if note.job and note.life >= promised.get(note.name, note.life + 1):
            jobs[note.name].add(note.job)
    for name, several in jobs.items():
        if len(several) > 1:
            yield f"{name} is scheduled {len(several)} times: {sorted(several)}"


def _wrong_answers(ledger: Ledger) -> Iterator[str]:
    """Whoever asked gets the answer to that, once, or none."""
    open_: set[tuple[int, Name]] = set()
    for note in of(ledger.notes, ASKED, ANSWERED):
        asked = (note.session, note.name)
        if note.kind == ASKED:
            open_.add(asked)
        elif asked not in open_ or note.text != answer_to(note.name):
            yield f"not what was asked: {note}"
        else:
            open_.remove(asked)


def judge_moves(
    transactions: dict[str, int],
    confirmed: set[str],
    moved_confirmed: set[str],
    stayed: list[str],
    moved: list[str],
) -> list[str]:
    """Return what is wrong with messages that were moved from one place to another, each in a transaction.

    A message reads TRANSACTION/NUMBER. `transactions`: those that brought them, and how many each; of these
    `confirmed`; messages whose move was confirmed; messages that are found in either place at the end.
    """
    found = Counter([*stayed, *moved])
    faults = [f"{name} is there {times} times" for name, times in found.items() if times > 1]
    parts = Counter(name.partition("/")[0] for name in found)
    for name, size in parts.items():
        if name not in transactions:
            faults.append(f"{name} was never begun")
        elif size != transactions[name]:
            faults.append(f"{size} of {transactions[name]} messages of {name}")
    faults += [f"lost: {name}" for name in sorted(confirmed - parts.keys())]
    faults += [
        f"moved with a receipt, and lost there: {n}" for n in sorted(moved_confirmed - {*moved})
    ]
    return faults
