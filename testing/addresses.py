"""Loopback addresses that one process has to itself: instances and balancers of a sandbox, servers of tests.

A process claims a block 127.N.0.0/16 for as long as it lives. The claim is an abstract Unix socket. It belongs to the
network namespace as the addresses do and goes with its process. So two processes never share a block, and none needs
a cleanup. Two demos or two runs of the tests stand beside each other. Only Linux answers on all of 127.0.0.0/8
without being set up for it.
"""

import random
import socket
import sys
from collections.abc import Iterator

# Away from 127.0.0.0/16, where the machine's own services listen.
BLOCKS = range(64, 255)
_HOSTS = 250


class AddressError(Exception):
    """No address is to be had. The text says why."""


class Addresses:
    """Addresses that no other process on this machine has."""

    def __init__(self) -> None:
        self._claim: socket.socket | None = None
        self._free: Iterator[str] = iter(())

    def take(self) -> str:
        """An address that was never taken before. Raises `AddressError` when there is none."""
        if self._claim is None:
            self._claim, block = claim()
            self._free = (f"127.{block}.{number // _HOSTS}.{number % _HOSTS + 1}" for number in range(256 * _HOSTS))
        address = next(self._free, None)
        if address is None:
            raise AddressError("this process has used up its 64,000 loopback addresses. Start another one")
        return address


def available() -> bool:
    """Whether instances and balancers can have addresses here."""
    return sys.platform == "linux"


def claim() -> tuple[socket.socket, int]:
    """A block that nobody else has, and the socket that holds it until closed. Raises `AddressError`."""
    if not available():
        raise AddressError("instances and balancers need Linux, since only Linux has all of 127.0.0.0/8")
    # S311: not a secret. Where to begin is random so that sandboxes started together seldom ask for the same.
    for block in random.sample(BLOCKS, len(BLOCKS)):
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            holder.bind(f"\0lamplighter/127.{block}")
        except OSError:
            holder.close()
            continue
        return holder, block
    raise AddressError(f"all {len(BLOCKS)} blocks of loopback addresses are taken by sandboxes on this machine")
