"""Where requests to the broker itself arrive: `/queue/rpc.broker`, and `/topic/rpc.broker` for what is meant for all.

Knows who sent each. What is behind it is loaded with the first request: most brokers start without being asked.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from broker.admin.asking import Asker
from broker.admin.outside import House
from broker.clearance import Clearance
from broker.client import Client
from broker.core.fanout import Put, Service
from broker.core.message import Message
from broker.core.names import QUEUE, TOPIC, split
from broker.person import NOBODY
from broker.watch.author import Author

if TYPE_CHECKING:
    from broker.admin.office import Office

NAME = "rpc.broker"


class Window(Service):
    """One of the destinations. It tells who sends, as far as that is a client and not the schedule, say."""

    def __init__(self, desk: Desk, destination: str, everyone: bool) -> None:
        """`everyone`: what comes here is meant for all workers of the service."""
        self._take = partial(desk.take, everyone)
        super().__init__(destination, partial(self._take, None))

    def put_from(self, sender: object) -> Put:
        """Return the function that takes the messages of a sender."""
        return partial(self._take, sender if isinstance(sender, Client) else None)


class Desk:
    """Passes requests on."""

    def __init__(self, house: House, author: Author) -> None:
        self._house = house
        self._author = author
        self._office: Office | None = None
        for prefix in (QUEUE, TOPIC):
            house.broker.routes.services[prefix + NAME] = self._serve

    def take(self, everyone: bool, sender: Client | None, message: Message) -> None:
        """Take a request, unless it is an answer of our own: we would talk to ourselves for ever."""
        if self._author.answering:
            return
        if self._office is None:
            from broker.admin.office import Office

            self._office = Office(self._house, self._author)
        if sender is None:
            nobody = Clearance(self._house.rights, NOBODY, self._house.broker.routes)
            asker = Asker(NOBODY.login, nobody)
        else:
            asker = Asker(sender.login, sender.clearance)
        self._office.take(message, asker, everyone)

    def _serve(self, destination: str) -> Service | None:
        prefix, name = split(destination)
        return Window(self, destination, prefix == TOPIC) if name == NAME else None
