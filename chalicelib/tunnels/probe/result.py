"""The result of one probe through a tunnel, which says whether the database answered, and otherwise the side at fault.
"""

from typing import Literal

import msgspec

FaultDomain = Literal["up", "local", "far", "ambiguous"]


class ProbeResult(msgspec.Struct, frozen=True):
    """One answer, or the lack of one.

    `side` is one of four. The database answered (`up`), the tunnel is broken on our side (`local`), the tunnel works
    and its target does not (`far`), or there was no answer in time (`ambiguous`). `why` is one word for what was seen,
    such as `refused`. `at` is when it was known (epoch seconds), `seconds` how long that took. `detail` quotes the
    other side, printable characters only. `connected_region` is the region to which the host says it leads, if it was
    asked and says so.
    """

    side: FaultDomain
    why: str
    at: float
    seconds: float = 0.0
    detail: str = ""
    connected_region: str = ""
