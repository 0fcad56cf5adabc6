"""What one probe through a tunnel says: whether the database behind it answered, and if not, which side is to blame."""

from typing import Literal

import msgspec

FaultDomain = Literal["up", "local", "far", "ambiguous"]


class ProbeResult(msgspec.Struct, frozen=True):
    """One answer, or the lack of one.

    `side`: the database answered (`up`); the tunnel is broken on our side (`local`); the tunnel works and what it leads
    to does not (`far`); nothing was said in time (`ambiguous`). `why` is one word for what was seen, such as `refused`.
    `at` is when it was known (epoch seconds), `seconds` how long that took. `said` quotes the other side, printable
    characters only. `leads` is the region to which the host says it leads, if it was asked and says so.
    """

    side: FaultDomain
    why: str
    at: float
    seconds: float = 0.0
    detail: str = ""
    connected_region: str = ""
