"""Who asks for a method of the broker's, and may it: an administrator all, others what their rights on destinations allow."""

from __future__ import annotations

from typing import NamedTuple

from broker.clearance import Clearance
from broker.core.names import means_others
from broker.rights import ADMINISTER, BROWSE


class Asker(NamedTuple):
    """Who asks."""

    login: str
    clearance: Clearance

    @property
    def is_administrator(self) -> bool:
        """True if everything is allowed."""
        return self.clearance.is_administrator

    def may_look(self, destination: str) -> bool:
        """Tell whether it may see what is in a destination."""
        may = self.clearance.may
        return may(BROWSE, destination) or may(ADMINISTER, destination)

    def may_administer(self, destination: str) -> bool:
        """Tell whether it may administer a destination; all that a pattern means only administrators may."""
        if means_others(destination):
            return self.is_administrator
        return self.clearance.may(ADMINISTER, destination)

    def check_look(self, destination: str) -> None:
        """Raise `NotAuthorized` unless it may see what is in a destination."""
        if not self.may_look(destination):
            self.clearance.check(BROWSE, destination)

    def check_administer(self, destination: str) -> None:
        """Raise `NotAuthorized` unless it may administer a destination."""
        self.clearance.check(ADMINISTER, destination)


class Asking:
    """Knows who asks. A method looks here once, when it begins: later it is somebody else's turn."""

    asker: Asker
