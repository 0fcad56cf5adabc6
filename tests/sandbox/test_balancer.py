"""The process that balances a region, its parts tried alone: ports that are taken, and what it tells."""

import asyncio
import socket

import pytest

from sandbox.compute.balancer import Balancers
from sandbox.compute.settings import Listener, Region
from testing.addresses import AddressError, Addresses, available, claim

pytestmark = pytest.mark.skipif(not available(), reason="only Linux answers on all of 127.0.0.0/8")


def test_a_port_that_cannot_be_had_is_mapped_to_another_one() -> None:
    async def ports(taken: int) -> dict[str, tuple[int, int]]:
        balancers = Balancers()
        await balancers.set(Region({"taken": Listener("127.0.0.1", taken, "", True),
                                    "free": Listener("127.0.0.1", 0, "", True)}))
        found = dict(balancers._ports)
        await balancers.set(Region())
        assert balancers._ports == {}
        return found

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        asked, real = asyncio.run(ports(taken))["taken"]
    assert asked == taken and real not in (0, taken)


def test_blocks_of_addresses_are_claimed_once_and_given_back() -> None:
    holders = []
    try:
        for _ in range(400):
            holders.append(claim())
    except AddressError as error:
        assert "are taken by sandboxes" in str(error)
    blocks = [block for _, block in holders]
    for holder, _ in holders:
        holder.close()
    assert 0 < len(blocks) == len(set(blocks)) < 400
    again, _ = claim()
    again.close()


def test_addresses_are_never_given_twice() -> None:
    addresses = Addresses()
    taken = [addresses.take() for _ in range(600)]
    assert len(set(taken)) == 600
    assert all(socket.inet_aton(one)[0] == 127 and 1 <= socket.inet_aton(one)[3] <= 250 for one in taken)
    assert addresses._claim is not None
    addresses._claim.close()
