"""Which of several hosts on this machine holds a connection of somebody who stays: from /proc/net/tcp (Linux)."""

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
    """The address at whose `port` a connection outlasts a second; the first one if none does."""
    staying = established(_read(), addresses, port)
    for _ in range(_LOOKS):
        time.sleep(_APART_SECONDS)  # a span of time is what is measured
        staying &= established(_read(), addresses, port)
    return min((address for address, _ in staying), default=addresses[0])


def established(table: str, addresses: Sequence[str], port: int) -> set[tuple[str, str]]:
    """The connections that `addresses` have taken at `port`: address, and the other end as the table writes it.

    `table` is the text of /proc/net/tcp: addresses are hexadecimal, in the machine's order of bytes ("proc_net_tcp.rst"
    in the kernel's documentation); this is for little-endian machines, as all are that the sandbox runs on.
    """
    wanted = {f"{ipaddress.ip_address(one).packed[::-1].hex().upper()}:{port:04X}": one for one in addresses}
    rows = (line.split()[1:4] for line in table.splitlines()[1:])
    return {(wanted[here], there) for here, there, state in rows if state == _ESTABLISHED and here in wanted}


def _read() -> str:
    return _TABLE.read_text() if _TABLE.exists() else ""
