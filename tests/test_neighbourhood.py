"""Clients of one network address are counted together; of IPv6, of one network."""

from __future__ import annotations

import pytest

from broker.neighbourhood import neighbourhood


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1:5000", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6:5000", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1:5000", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]:5000", "2001:db8:1:2::/64"),
        ("fe80::1%eth0:5000", "fe80::/64"),
        ("::1:5000", "::/64"),
        ("::ffff:192.0.2.1:5000", "192.0.2.1"),
        ("radio:7", "radio"),
        ("more:than:one:7", "more:than:one"),
        (":", "nowhere"),
        ("", "nowhere"),
    ],
)
def test_where_somebody_comes_from(address: str, place: str) -> None:
    assert neighbourhood(address) == place
