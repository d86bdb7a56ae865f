"""What a measurement must prove before it is a figure: everything arrived, once, and unharmed.

A check compares a whole batch at once, because the batch that is right is the common one; only a batch
that is wrong is looked at message by message, to say what is wrong with it. Either way nothing escapes:
a batch passes only if every number and every byte in it is the one that was due.

Knows numbers and bytes, no sockets and no STOMP.
"""

from __future__ import annotations

from broker.bench.numbered import DIGITS, Numbered


class MeasurementError(Exception):
    """The broker lost, repeated, changed or refused something: the row has no figure."""


class Unsupported(MeasurementError):
    """The broker does not know what the row is about: the text says what, and nothing was measured."""


class Stalled(MeasurementError):
    """The broker has not sent what is due, and seems not to mean to."""


class Check:
    """Counts what came and was right."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.settled = 0  # how many came

    def missing(self, sent: int) -> str:
        """Say what has not come of the `sent`, or nothing."""
        lost = sent - self.settled
        return f"{lost} of {sent} {self.what} never came" if lost else ""


class InOrder(Check):
    """A stream in which each number comes exactly once and in order.

    `expected` gives, number by number, the bytes that must arrive: bodies, or bare numbers.
    """

    def __init__(self, what: str, expected: Numbered, first: int = 0) -> None:
        super().__init__(what)
        self.expected = expected
        self.next = first  # the number that is due

    def take_large(self, frame: bytes) -> None:
        """Check one frame that must end with what is due, without copying it. Raises `MeasurementError`."""
        if not frame.endswith(self.expected.slice(self.next, self.next + 1)):
            raise MeasurementError(self._difference([frame[-self.expected.size :]]))
        self.next += 1
        self.settled += 1

    def take(self, items: list[bytes]) -> None:
        """Check one batch. Raises `MeasurementError` with the first difference."""
        start = self.next
        stop = start + len(items)
        if b"".join(items) != self.expected.slice(start, stop):
            raise MeasurementError(self._difference(items))
        self.next = stop
        self.settled += len(items)

    def _difference(self, items: list[bytes]) -> str:
        for place, item in enumerate(items, self.next):
            expected = self.expected.slice(place, place + 1)
            if item == expected:
                continue
            digits, due = item[:DIGITS], int(expected[:DIGITS])
            if not digits.isdigit() or item[DIGITS:] != expected[DIGITS:]:
                return f"{self.what}: number {due} came with other bytes: {item[:40]!r}"
            came = int(digits)
            if came < due:
                return f"{self.what}: number {came} came again, or late: {due} was due"
            return f"{self.what}: number {came} came, {due} was due: {came - due} lost, or late"
        return f"{self.what}: the bytes differ in length"


class EachInOrder(Check):
    """Streams that come mixed, told apart by their keys: in each, every number comes once and in order.

    A body is its number, its key, and `rest`.
    """

    def __init__(self, what: str, keys: list[bytes], rest: bytes) -> None:
        super().__init__(what)
        self.rest = rest
        self.next = dict.fromkeys(keys, 0)  # the number that is due in each

    def take(self, keys: list[bytes], bodies: list[bytes]) -> None:
        """Check one batch, the key and the body of each. Raises `MeasurementError` for the first wrong one."""
        due, rest = self.next, self.rest
        for key, body in zip(keys, bodies, strict=True):
            value = due.get(key, 0)
            if body != b"%010d%b%b" % (value, key, rest) or key not in due:
                raise MeasurementError(
                    f"{self.what}: number {value} was due from {key.decode()}, and {body[:40]!r} came"
                )
            due[key] = value + 1
        self.settled += len(keys)


class AnyOrder(Check):
    """Numbers that must each be answered exactly once, in whatever order."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.outstanding: set[bytes] = set()

    def expect(self, numbers: list[bytes]) -> None:
        """Note what was asked."""
        self.outstanding.update(numbers)

    def take(self, numbers: list[bytes]) -> None:
        """Check one batch of answers. Raises `MeasurementError` for one that was not asked, or came twice."""
        came = set(numbers)
        if len(came) != len(numbers) or not came <= self.outstanding:
            raise MeasurementError(self._difference(numbers))
        self.outstanding -= came
        self.settled += len(came)

    def _difference(self, numbers: list[bytes]) -> str:
        left = set(self.outstanding)
        for answer in numbers:
            if answer not in left:
                return f"{self.what}: {answer!r} came twice, or was never asked for"
            left.discard(answer)
        return f"{self.what}: a batch does not add up"


def bodies_match(numbers: list[bytes], bodies: list[bytes], rest: bytes) -> bool:
    """Tell whether each body is its number followed by `rest`."""
    return b"".join(bodies) == rest.join(numbers) + rest if numbers else not bodies
