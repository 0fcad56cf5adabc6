"""The host on this machine that holds a connection, among several, from /proc/net/tcp (Linux)."""

import ipaddress
import time
from collections.abc import Sequence
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
# TCP_ESTABLISHED in the kernel's include/net/tcp_states.h.
_ESTABLISHED = "01"
# A probe is over by then.
_APART_SECONDS, _LOOKS = 0.4, 3


def carrier(addresses: Sequence[str], port: int) -> str:
    """The address at whose `port` a connection outlasts a second. The first one if none does."""
    staying = established(_read(), addresses, port)
    for _ in range(_LOOKS):
        time.sleep(_APART_SECONDS)  # a span of time is what is measured
        staying &= established(_read(), addresses, port)
    return min((address for address, _ in staying), default=addresses[0])


def established(table: str, addresses: Sequence[str], port: int) -> set[tuple[str, str]]:
    """The accepted connections of `addresses` at `port`, with address and the other end as the table writes it.

    `table` is the text of /proc/net/tcp. Its addresses are hexadecimal, in the machine's order of bytes
    ("proc_net_tcp.rst" in the kernel's documentation). This is for little-endian machines, which all machines of the
    sandbox are.
    """
    wanted = {f"{ipaddress.ip_address(one).packed[::-1].hex().upper()}:{port:04X}": one for one in addresses}
    rows = (line.split()[1:4] for line in table.splitlines()[1:])
    return {(wanted[here], there) for here, there, state in rows if state == _ESTABLISHED and here in wanted}


def _read() -> str:
    return _TABLE.read_text() if _TABLE.exists() else ""
