"""A network of one's own: a namespace with nothing but a loopback, in which the calling thread and its peers live.

On the machine's loopback everybody comes from 127.0.0.1, and that one MariaDB never blocks. In a namespace, hosts are
addresses such as 10.0.0.5, which a program also comes from when it connects to its own. And hosts can vanish.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence

from testing.servers.process import find

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def namespace(*addresses: str) -> Iterator[None]:
    """The calling thread, and what it starts, in a network with 127.0.0.0/8 and each of `addresses`. Needs root.

    It ends with the last process in it. Connections of other threads, Unix sockets and files are not affected.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(_NEW_NETWORK), "unshare")
        try:
            ip("link set lo up")
            for address in addresses:
                host(address)
            yield
        finally:
            _check(_libc.setns(before, _NEW_NETWORK), "setns")
    finally:
        os.close(before)


def host(address: str) -> None:
    """A host appears: `address` is this network's."""
    ip(f"addr add {address}/32 dev lo")


def vanish(address: str) -> None:
    """A host goes without a word, and packets to it get lost."""
    # A cable whose other end takes nothing that is not for its own hardware address.
    ip("link add nowhere type veth peer name nobody", exists=True)
    ip("link set nowhere up")
    ip("link set nobody up")
    ip(f"route add {address}/32 dev nowhere")
    ip(f"neigh replace {address} lladdr 02:00:00:00:00:01 dev nowhere nud permanent")
    ip(f"addr del {address}/32 dev lo", exists=True)


def cut(address: str) -> None:
    """The way to `address` ends here, and who tries it is told."""
    ip(f"route add unreachable {address}/32")


def ip(words: str, exists: bool = False) -> None:
    """`ip WORDS`. With `exists`, what is there already, or gone already, is no error."""
    _run([find("ip"), *words.split()], exists)


def _run(words: Sequence[str], lenient: bool) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode and not lenient:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


def _check(answer: int, call: str) -> None:
    if answer:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")
