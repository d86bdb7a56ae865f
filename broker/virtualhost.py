"""A virtual host: a store, the core above it, and all that belongs to them. A broker has one, or several.

Virtual hosts share listeners and nothing else: each has queues, policies, peers and turns of its own, so that none
can see, fill or slow down another's.

Not here: how clients come in, and which host they come to (`broker.service`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from broker.admin.desk import Desk
from broker.admin.outside import House
from broker.agenda import Agenda
from broker.core.broker import ENOUGH, Broker, Outside
from broker.core.policy import Policies
from broker.cron import next_cron
from broker.errors import NotAuthorized, Refusal, StompError
from broker.filters import make_filter
from broker.granting import check_still
from broker.net.stream import Guest
from broker.net.wall import time_of_day
from broker.options import Options, OptionsError
from broker.peering.dialled import Dialled
from broker.peering.peer import Peer
from broker.peering.peers import Peers
from broker.reception import Host
from broker.reload import Commit, Keeper, reading_files
from broker.rights import Rights
from broker.store import UNFINISHED, Store, Stored, StoreError, StoreSettings, open_store
from broker.store.writer import start_writer
from broker.tail import annotate, rename
from broker.turn import Turn
from broker.watch.advisories import Advisories
from broker.watch.author import Author
from broker.watch.presence import Presence
from broker.watch.reports import Reporter
from broker.watch.schedule import ScheduleManagement
from broker.watch.statistics import Statistics

#: Policies that hold unless the operator says otherwise.
OURS: list[tuple[str, dict[str, Any]]] = [
    # Replies to remote calls that nobody waits for any more are nobody's to look at.
    ("/queue/rpc.reply.>", {"expired": "discard"}),
]


class CannotStart(Exception):
    """The broker cannot run as it was asked to, in one line for the operator."""


class Streams(NamedTuple):
    """What a virtual host needs to know of those who are connected."""

    #: Returns the address of each connection, by session.
    addresses: Callable[[], Mapping[str, str]]
    #: Ends the connection of a session with an ERROR.
    dismiss: Callable[[str, StompError], None]
    #: Makes what joins a stream to a peer, see `broker.net.stream.House`.
    house_of: Callable[[VirtualHost, Peer], Any]


class VirtualHost:
    """Destinations with a store of their own."""

    log = Logger()

    def __init__(self, options: Options, reactor: Any, streams: Streams) -> None:
        """Open the store and take over what is in it. Raises `CannotStart`."""
        self.options = options
        try:
            self.rights = Rights(options.rights, options.administrators, options.is_open)
        except OptionsError as error:
            raise CannotStart(str(error)) from None
        self._dismiss = streams.dismiss
        self._reactor = reactor
        self._timer: IDelayedCall | None = None
        #: Of every line of the log: what it begins with, and a field.
        name = options.virtual_host
        self._about = {"mine": f"virtual host {name}: " if name else "", "virtual_host": name}
        #: Of the files that links to peers need, see `broker.reload`.
        self.keepers: list[Keeper] = []
        self._store, stored = opened_store(options)
        self.name = f"hoof-{stored.node}-{stored.boot}"
        id_prefix = self._id_prefix = f"{self.name}-".encode()
        self._agenda = Agenda(self._wake_at)
        self.broker = Broker(
            Outside(
                annotate,
                make_filter,
                next_cron,
                self._rename,
                self._wake_schedule_at,
                say=self._warn,
                elapsed=time.monotonic,
            ),
            policies=Policies([*OURS, *options.policies]),
            memory_limit=options.memory_limit,
            max_redeliveries=options.max_redeliveries,
            track_for=int(options.track_for * 1000),
            track_most=options.track_most,
            max_destinations=options.max_destinations,
            enough=min(ENOUGH, options.map_size // 20),
        )
        self.presence = Presence(self.broker, f"hoof-{stored.node}", self.name)
        author = Author(self.broker, id_prefix)
        self.broker.tell = Advisories(self.broker, self.presence, author).tell
        self.broker.reports = Reporter(self.broker, author, self.presence)
        path = options.store_url.partition(":")[2]
        statistics = Statistics(
            self.broker,
            self.presence,
            author,
            options.memory_limit,
            options.map_size,
            lambda: size_on_disk(path),
            os.path.abspath(path) if path else "",
        )
        ScheduleManagement(self.broker, author)
        self.broker.now = int(time_of_day() * 1000)
        self.broker.load(stored, self._read)
        self.peers = Peers(self.broker, options, stored.node, stored.boot, self._tell_of_link)
        self._house = House(
            self.broker,
            self.presence,
            statistics,
            options,
            self.peers,
            self.rights,
            self.broker.now,
            streams.addresses,
            streams.dismiss,
            self._later,
        )
        Desk(self._house, author)
        try:
            self.broker.routes.compose(options.composites)
        except Refusal as error:
            self._store.close()
            said = ". ".join(filter(None, (error.text, error.hint)))
            raise CannotStart(f"composite destinations: {said}") from None
        self.turn = Turn(
            self.broker,
            self._store,
            lambda: start_writer(self._store, reactor.callFromThread, self._store_failed),
            self._agenda,
            options.journal_bytes,
            options.journal_delay,
            reactor.at_end if hasattr(reactor, "at_end") else partial(reactor.callLater, 0),
            self._store_failed,
        )
        self.host = Host(
            self.broker, self.turn, options, id_prefix, self._agenda, self.peers, self.rights
        )
        self._links = self._make_links(streams)

    def prepare(self, options: Options) -> Commit:
        """Return what makes other settings hold: policies and rights at once, the rest for connections made from then on.

        Whoever consumes from where he may not any more is disconnected with an ERROR that says so: STOMP has no other
        way to end a subscription. What was sent stays sent, what waits in an open transaction is refused at COMMIT.
        Raises `OptionsError`.
        """
        policies = Policies([*OURS, *options.policies])
        rights = Rights(options.rights, options.administrators, options.is_open)

        def commit() -> None:
            self.options = self._house.options = options
            self.host = replace(self.host, options=options)
            self.begin()
            self.broker.follow(policies)
            self._change_rights(rights)

        return commit

    def _tell_of_link(self, peer: str, trouble: str) -> None:
        """A peer is linked, or there is trouble."""
        if trouble:
            self.log.warn(
                "{mine}no link to the peer {peer}: {error}", peer=peer, error=trouble, **self._about
            )
        else:
            self.log.info("{mine}linked to the peer {peer}", peer=peer, **self._about)

    def _warn(self, text: str) -> None:
        """Tell the operator what should not be."""
        self.log.warn("{mine}{text}", text=text, **self._about)

    def _make_links(self, streams: Streams) -> list[Service]:
        """Return what dials the peers that do not dial us. Raises `CannotStart`."""
        dialled = [peer for peer in self.peers if peer.is_dialled]
        if not dialled:
            return []
        from broker.net.dialling import CannotDial, Renewable, dial  # few brokers have peers

        try:
            links = [dial(peer, streams.house_of(self, peer), self._reactor) for peer in dialled]
        except CannotDial as error:
            self._store.close()
            raise CannotStart(str(error)) from None
        renewable = [link.prepare for link in links if isinstance(link, Renewable)]
        self.keepers += [reading_files(prepare, CannotDial) for prepare in renewable]
        return links

    def start(self, url: str) -> None:
        """Begin to dial peers and to look after what is there; `url` is that of the first listener."""
        self.presence.url = url
        for link in self._links:
            link.startService()  # type: ignore[no-untyped-call]
        for name, left in self.peers.forgotten.items():
            self.log.warn(
                "{mine}{count} messages wait for {peer}, which is no peer now",
                count=left,
                peer=name,
                **self._about,
            )
        self._agenda.add(time.monotonic() + self.options.sweep_every, self._sweep)

    def open_link(self, stream: Guest, peer: Peer, session: str) -> Dialled:
        """A peer that was dialled has answered."""
        return Dialled(self.peers, peer, self.host, session, stream)

    def _change_rights(self, wanted: Rights) -> None:
        self.rights.become(wanted)
        routes = self.broker.routes
        routes.changed()
        for consumer in [*self.presence.consumers.values()]:
            try:
                check_still(consumer)
            except NotAuthorized as error:
                self._dismiss(consumer.client.session, error)
            else:
                routes.look_again(consumer.subscription)

    def hang_up(self) -> None:
        """Dial nobody any more."""
        for link in self._links:
            link.stopService()  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """Begin a turn, or go on with the one begun."""
        self.turn.begin(time.monotonic(), time_of_day())

    def close(self) -> None:
        """Close the store: everything is written, and everybody has gone."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._store.close()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function in a turn, after a while."""
        self._agenda.add(time.monotonic() + seconds, lambda now: call())

    def _wake_at(self, when: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(max(0.0, when - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self.begin()
        self._agenda.run(self.turn.now)  # a turn has one time, also when it began before

    def _rename(self, tail: bytes, seq: int) -> bytes:
        """Give a tail the message-id of a sequence number."""
        return rename(tail, b"%b%d" % (self._id_prefix, seq))

    def _wake_schedule_at(self, when: int) -> None:
        """Look at the schedule at a moment given in milliseconds since 1970."""
        self._agenda.add(time.monotonic() + when / 1000 - time_of_day(), self._tick_schedule)

    def _tick_schedule(self, now: float) -> None:
        self.broker.schedule.tick(self.broker.now)

    def _sweep(self, now: float) -> float:
        self.broker.sweep()
        return now + self.options.sweep_every

    def _read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Read records for whoever does so in the middle of a turn."""
        try:
            return self._store.read(queue, priority, after, count, size)
        except Exception as error:
            self._store_failed(error)
            raise

    def _store_failed(self, error: BaseException) -> None:
        """Nothing is known about the disk any more: end before any promise is made, let a supervisor restart."""
        self.log.critical("{mine}the store has failed: {error}", error=str(error), **self._about)
        os._exit(1)


def opened_store(options: Options) -> tuple[Store, Stored]:
    """Return the store of a virtual host, and what is in it. Raises `CannotStart`."""
    settings = StoreSettings(options.map_size, options.disk_reserve)
    try:
        store = open_store(options.store_url, settings)
        stored = store.load()
    except StoreError as error:
        raise CannotStart(str(error)) from None
    except Exception as error:  # a driver's own words: the disk is full, for one
        raise CannotStart(f"cannot use the store {options.store_url}: {error}") from error
    if UNFINISHED in stored.marks:
        store.close()
        raise CannotStart(f"an import into {options.store_url} was broken off: remove it first")
    return store, stored


def size_on_disk(path: str) -> int:
    """Return the bytes that a store's file, and those beside it, or its directory take; "" takes none."""
    if not path:
        return 0
    place = Path(path)
    files = place.iterdir() if place.is_dir() else place.parent.glob(f"{place.name}*")
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())
